"""The processes that make shards, and what happens when one of them dies."""

from __future__ import annotations

import dataclasses
import multiprocessing
import signal
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from tqdm import tqdm

from common.errors import DfdcError
from common.parent import children_deaf_to
from train.data.extract_shard import Shard, ShardSetup, start_worker, work

DEATHS = 2  # of processes that worked on a video, after which it is given up


def make_shards(todo: Sequence[Shard], setup: ShardSetup, workers: int, bar: tqdm[Any]) -> None:
    """Make shards in processes.

    Decoding has processes of its own, so a worker dies of a crash in another library, or of too little memory. Then the
    shards that were begun are made again, one after the other, each in a process of its own: so it is known on which
    video a process dies again, and that video is given up.

    Args:
        todo: the shards.
        setup: of all of them.
        workers: processes.
        bar: counts videos.

    Raises:
        DfdcError: processes die without having begun a video.
    """
    finished = bar.n
    died: Counter[str] = Counter()
    while todo:
        broken = _run(todo, setup, workers, bar)
        alone = _begun(todo, setup) if broken else []
        for shard in alone:
            died[_suspect(shard, setup)] += 1
        if broken and not alone:
            raise DfdcError("a worker process died before it began a video; is there enough memory? See --workers")
        for shard in alone:
            _make_alone(shard, setup, died, bar)
        left = [shard for shard in todo if not shard.index(setup.folder).exists()]
        finished += sum(len(shard.videos) for shard in todo) - sum(len(shard.videos) for shard in left)
        bar.update(finished - bar.n)
        todo = left


def _make_alone(shard: Shard, setup: ShardSetup, died: Counter[str], bar: tqdm[Any]) -> None:
    """Make one shard in one process, as often as it takes to find out on which videos processes die."""
    reason = f"the process that worked on it died {DEATHS} times"
    while True:
        hopeless = {name: ("crashed", reason) for name, deaths in died.items() if deaths >= DEATHS}
        if not _run([shard], dataclasses.replace(setup, aside={**setup.aside, **hopeless}), 1, bar):
            return
        if not _begun([shard], setup):
            raise DfdcError("a worker process died before it began a video; is there enough memory?")
        died[_suspect(shard, setup)] += 1


def _begun(shards: Sequence[Shard], setup: ShardSetup) -> list[Shard]:
    return [shard for shard in shards if shard.mark(setup.folder).exists()]


def _suspect(shard: Shard, setup: ShardSetup) -> str:
    """The video that a shard's process was at when it died; its mark and its temporary files go."""
    mark = shard.mark(setup.folder)
    name = mark.read_text(encoding="utf-8")
    for path in (mark, *setup.folder.glob(f".{shard.name}.*.tmp")):
        path.unlink(missing_ok=True)
    return name


def _run(todo: Sequence[Shard], setup: ShardSetup, workers: int, bar: tqdm[Any]) -> bool:
    """Make shards until all are there or a process dies; whether one has died."""
    # Not forked: OpenCV and OpenVINO hang in a child that inherits their threads.
    context = multiprocessing.get_context("spawn")
    stop, count = context.Event(), context.Value("l", 0)
    begin = bar.n
    pool = ProcessPoolExecutor(max(1, min(workers, len(todo))), context, start_worker, (setup, stop, count))
    try:
        with children_deaf_to(signal.SIGINT):  # the first call starts all processes
            waiting = {pool.submit(work, shard) for shard in todo}
        while waiting:
            finished, waiting = wait(waiting, timeout=0.5, return_when=FIRST_COMPLETED)
            bar.update(begin + count.value - bar.n)
            for future in finished:
                future.result()
    except BrokenProcessPool:
        return True
    finally:
        stop.set()
        pool.shutdown(cancel_futures=True)
    return False
