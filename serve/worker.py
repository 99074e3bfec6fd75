"""The start of a worker process: it ends with its server, also while it is still importing what serve/jobs.py needs."""

from __future__ import annotations

import sys

from common.parent import end_with_parent

if __name__ == "__main__":
    # Before the server, which can start another, and after the decoders.
    end_with_parent(oom_score=500, parent=int(sys.argv[1]))
    from serve.jobs import work

    work(sys.argv[2:])
