"""Which worker runs which file of tests, and what becomes of them when a worker dies."""

from __future__ import annotations

from typing import Any

from xdist.scheduler import LoadFileScheduling


class CrashProofScheduling(LoadFileScheduling):
    """`--dist loadfile` that comes to an end after a worker has died.

    When a worker dies, xdist (3.8) hands out all files that it ever had. One whose tests have all run gives its next
    worker nothing to tell of, and who tells nothing gets nothing more: all tests that are left wait for ever.
    """

    def remove_node(self, node: Any) -> str | None:
        """Forget the files that a worker is done with, then let go of the worker."""
        work = self.assigned_work[node]
        for scope in [scope for scope, tests in work.items() if all(tests.values())]:
            del work[scope]
        return super().remove_node(node)
