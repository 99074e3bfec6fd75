"""The process that looks at the header of a file that a stranger sent: is it a video, and how long does it last?

It gets lines of JSON, {"path":}, and answers each with {"seconds":} or {"reason":}. A header may be made to crash or
stop its reader, so nothing else happens in this process, and whoever asks limits its time.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from common.parent import end_with_parent
from faces.decode.worker import DECODE_ERRORS
from faces.media import VideoError, open_media
from faces.video import probe

# Formats of libavformat that say where pictures are instead of holding them: they would make this machine open others
# of its files for whoever sent one.
PLAYLISTS = {"concat", "dash", "hls", "imf", "sdp"}


def look(path: Path) -> dict[str, Any]:
    """Read a header.

    Args:
        path: of the file.

    Returns:
        {"seconds": that the video lasts, 0 where the header does not tell}, or {"reason": why it is no video}; a reason
        goes on from "the file".
    """
    try:
        with open_media(path) as container:
            kind = container.format.name
        if PLAYLISTS & set(kind.split(",")):
            return {"reason": f"is a playlist ({kind}), which holds no pictures itself"}
        return {"seconds": probe(path).duration}
    except VideoError as error:
        return {"reason": str(error).removeprefix(f"{path}: ").partition(";")[0]}
    except DECODE_ERRORS as error:
        return {"reason": f"cannot be read ({type(error).__name__}: {error})"}


def main() -> None:
    """Answer until stdin ends."""
    end_with_parent()
    for line in sys.stdin:
        print(json.dumps(look(Path(json.loads(line)["path"]))), flush=True)


if __name__ == "__main__":
    main()
