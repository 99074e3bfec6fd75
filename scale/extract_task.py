"""Extract the videos of a unit: one shard of `dfdc extract`, with the same bytes."""

from __future__ import annotations

import csv
import dataclasses
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common.device import Device
from faces.cascade import Cascade
from faces.decode.decoder import Decoder
from faces.decode.watchdog import VideoLimits
from models.registry import member_specs
from scale.units import Unit
from scale.worker import Aside, Made, Tick
from train.data.extract_shard import Shard, ShardSetup, write_shard
from train.data.extract_video import ExtractOptions
from train.data.metadata import Video

TAR, VIDEOS, INDEX = "crops.tar", "videos.csv", "index.csv"


class ExtractTask:
    """The detectors of `dfdc extract`, in one thread as there, with the options of a manifest."""

    def __init__(self, options: Mapping[str, Any], device: Device) -> None:
        """Load the networks.

        Args:
            options: of the manifest.
            device: where they run.
        """
        self.options = ExtractOptions(**options["extract"], specs=member_specs())
        self.device = device
        memory = int(options["video_memory"])
        self.limits = dataclasses.replace(VideoLimits.of(options["video_seconds"]), memory=memory)
        self.detector = Cascade(self.device, threads=1)
        self.decoder = Decoder(self.limits)

    def make(
        self,
        unit: Unit,
        paths: Mapping[str, Path],
        work: Path,
        aside: Aside,
        tick: Tick | None,
        end: float | None = None,
    ) -> Made:
        """Write the shard of a unit; nothing may be left out of it, so that there is no end by the clock."""
        videos = tuple(video_of(item.facts, paths.get(item.key)) for item in unit.items)
        setup = ShardSetup(work, self.options, self.device, aside, self.limits)
        shard = Shard(unit.number, videos)
        write_shard(shard, setup, self.decoder, self.detector, tick or (lambda _: None))
        with shard.table(work).open(encoding="utf-8", newline="") as table:
            statuses = Counter(row["status"] for row in csv.DictReader(table))
        return Made({TAR: shard.tar(work), VIDEOS: shard.table(work), INDEX: shard.index(work)}, statuses)


def facts_of(video: Video) -> dict[str, str]:
    """What the plan keeps of a video."""
    facts = dataclasses.asdict(video)
    del facts["path"]
    return facts


def video_of(facts: Mapping[str, str], path: Path | None) -> Video:
    """Make a video of what the plan keeps of it."""
    return Video(path=path, **facts)
