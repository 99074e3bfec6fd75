"""Whether an upload is a video, asked of a process that may crash or hang over it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from serve.child import Child, ChildDied

SECONDS = 60.0  # for one header, the start of the process included: its imports may come off a cold disk


class HeaderReader:
    """One process of faces/decode/header.py, another after each that did not answer."""

    def __init__(self) -> None:
        self._child: Child | None = None
        self._turn = asyncio.Lock()

    async def seconds_of(self, path: Path) -> float:
        """Ask how long a video lasts.

        Args:
            path: of the file.

        Returns:
            Seconds; 0 where the header does not tell.

        Raises:
            ValueError: it is no video that can be read; the message goes on from "the file".
        """
        async with self._turn:
            try:
                answer = await asyncio.wait_for(self._ask(path), SECONDS)
            except ChildDied as death:
                await self.close()
                raise ValueError(f"ended the process that read its header: it {death}") from death
            except TimeoutError:
                await self.close()
                raise ValueError(f"has a header that was not read within {SECONDS:g} s") from None
            except asyncio.CancelledError:
                await self.close()  # an answer that nobody took would be taken for that of the next file
                raise
        if "reason" in answer:
            raise ValueError(answer["reason"])
        return float(answer["seconds"])

    async def _ask(self, path: Path) -> dict[str, Any]:
        if self._child is None:
            self._child = await Child.start("faces.decode.header")
        await self._child.send({"path": str(path)})
        return await self._child.receive()

    async def close(self) -> None:
        """End the process."""
        if self._child is not None:
            await self._child.close()
        self._child = None
