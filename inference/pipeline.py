"""The pipeline: videos -> frames -> faces -> people -> crops -> logits -> one probability each.

Decoding runs ahead in processes; detection takes one video at a time, the members crops of several videos at once.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from common.cores import cores
from common.device import Device
from ensemble.blend import Blend
from faces.between import frames_between
from faces.cascade import Cascade
from faces.crop import Image, cut
from faces.decode.pool import Decoded, decode_ahead
from faces.decode.watchdog import DEFAULT_LIMITS, VideoLimits
from faces.detect import FrameFaces
from faces.shots import cuts
from faces.track import STRAY, track
from faces.turned import find_upright
from faces.video import Frames
from inference.evidence import evidence_notes, use_lone_faces
from inference.pictures import choose_thumbnails, closeups_of, face_picture, thumbnails_of, with_heat
from inference.result import PRIOR, VideoResult, face_pixels_of, people_of
from inference.schedule.plans import Plan, check_tolerance
from inference.schedule.scheduler import FixedScheduler, Scheduler
from inference.scoring import Scored, score_faces
from inference.stages import clocked
from inference.work import VideoWork, called, in_order, scored_face, with_logits
from models.backend import LoadedMember, load_members
from models.checkpoint import WEIGHTS_DIR

if TYPE_CHECKING:
    import torch

CPU = Device("cpu")


@dataclass(frozen=True)
class PredictOptions:
    """What decides the numbers of a run, and how it uses the machine."""

    frames: int = 32  # of a video that are looked at, evenly spread; at most so many where it is sparing
    sparing: bool = False  # fewer of a short video, and those that are decoded soonest; a budget counts itself
    decoders: int = 0  # videos decoded at a time; 0: one per core
    batch: int = 0  # crops gathered, over videos, before the members score them; 0: a video's on the CPU, 256 elsewhere
    tolerance: float = 0.0  # of P(fake), its standard error by the faces that are scored; 0: all are scored
    thumbnails: int = 0  # frames per video kept small for a report
    heatmap: bool = False  # of the most telling face of a video that looks fake: about as long as the members again
    limits: VideoLimits = DEFAULT_LIMITS  # what decoding one video may take
    prompt: bool = False  # give each result before the next video is waited for, as a server must; batches stay small

    def __post_init__(self) -> None:
        if self.frames < 1 or self.batch < 0 or self.decoders < 0:
            raise ValueError(f"frames {self.frames} start at 1, batch {self.batch} and decoders {self.decoders} at 0")
        check_tolerance(self.tolerance)


# Seconds: far more than a video takes, and far less than one that hangs is given.
PATIENCE = 10.0


class Pipeline:
    """Networks loaded once, any number of videos after that."""

    def __init__(
        self,
        detector: Cascade,
        loaded_members: Sequence[LoadedMember],
        options: PredictOptions,
        blend: Blend | None = None,
        device: Device | torch.device = CPU,
    ) -> None:
        """Take what is loaded already.

        Args:
            detector: finds faces.
            loaded_members: score them.
            options: how much of each video is looked at.
            blend: of some or all of the members; equal weights of all without one.
            device: where the members run.
        """
        self.detector, self.loaded_members, self.options, self.device = detector, list(loaded_members), options, device
        self.blend = blend or Blend.equal([loaded.card.name for loaded in loaded_members])

    def run(
        self, paths: Sequence[Path], scheduler: Scheduler | None = None, begin: Callable[[str], None] | None = None
    ) -> Iterator[VideoResult]:
        """Predict videos, and give their results in the order of the paths; arguments as those of `run_as_finished`.

        Yields:
            One result per path; `skipped_by_budget` where the scheduler has ended the run before.
        """
        return in_order(paths, self._finished(paths, scheduler, begin, {}))

    def run_as_finished(
        self,
        paths: Sequence[Path],
        scheduler: Scheduler | None = None,
        begin: Callable[[str], None] | None = None,
        names: Mapping[Path, str] | None = None,
    ) -> Generator[VideoResult, None, None]:
        """Predict videos. One that cannot be read is a result, not an exception, and one that hangs holds up no other.

        Args:
            paths: the videos.
            scheduler: decides how each video is scored, and ends the run early; all are scored alike without one.
            begin: is called with the name of a video before native code works on its pixels in this process.
            names: what the videos are called; by their file names without it.

        Yields:
            One result per path, as they are finished, until the scheduler ends the run.
        """
        with contextlib.closing(self._finished(paths, scheduler, begin, names or {})) as finished:
            for path, result in finished:
                yield called(result, names[path], path) if names else result

    def _finished(
        self,
        paths: Sequence[Path],
        scheduler: Scheduler | None,
        begin: Callable[[str], None] | None,
        names: Mapping[Path, str],
    ) -> Generator[tuple[Path, VideoResult], None, None]:
        """Each path and its result, as `run_as_finished`."""
        scheduler = scheduler or FixedScheduler(self.plan)
        waiting: list[VideoWork] = []
        jobs, limits = scheduler.jobs(paths), self.options.limits
        # What shares a batch on a GPU moves the last digits: there the order is kept as long as nothing hangs.
        patience = 0.0 if self._batch() == 1 else PATIENCE
        sparing = self.options.sparing and isinstance(scheduler, FixedScheduler)
        with contextlib.closing(decode_ahead(jobs, self.decoders, limits, patience=patience, sparing=sparing)) as ahead:
            for decoded in ahead:
                plan = scheduler.plan_of(decoded.path)
                if waiting and waiting[-1].plan.scored_alike != plan.scored_alike:
                    yield from self._score(waiting, scheduler)
                    waiting = []
                if begin is not None:
                    begin(names.get(decoded.path, decoded.path.name))
                waiting.append(self._prepare(decoded, plan))
                if self.options.prompt or sum(len(work.faces) for work in waiting) >= self._batch():
                    yield from self._score(waiting, scheduler)
                    waiting = []
                if scheduler.over():
                    break
        yield from self._score(waiting, scheduler)

    def predict_frames(self, frames: Frames, name: str = "frames") -> VideoResult:
        """Predict one video whose frames are in memory already.

        Args:
            frames: All of them are used, whatever the options say.
            name: The file name of the result.

        Returns:
            The result, as `run` gives it for a video with these frames.
        """
        scheduler = FixedScheduler(replace(self.plan, frames=len(frames.images)))
        decoded = Decoded(Path(name), frames, "ok", "", 0.0)
        return next(self._score([self._prepare(decoded, scheduler.plan)], scheduler))[1]

    @property
    def plan(self) -> Plan:
        """How a video is predicted where nothing is short."""
        return Plan(self.options.frames, 0, tolerance=self.options.tolerance)

    @property
    def decoders(self) -> int:
        """Videos decoded at a time."""
        return self.options.decoders or cores()

    def _batch(self) -> int:
        """Crops to gather. On the CPU a larger batch is no faster, and a video scored by itself has one answer."""
        return self.options.batch or (1 if self.device.type == "cpu" else 256)

    def _prepare(self, decoded: Decoded, plan: Plan) -> VideoWork:
        """Detect, track and cut; the full frames are let go of here."""
        frames = decoded.frames
        seconds, cpu = {"decode": decoded.seconds}, {"decode": decoded.cpu}
        reason = decoded.reason.removeprefix(f"{decoded.path}: ")  # the row that has the reason names its video
        work = VideoWork(decoded.path, reason, seconds, cpu, decoded.outcome, plan)
        if frames is not None:
            with clocked() as took:
                self._detect(work, frames, plan)
            seconds["detect"], cpu["detect"] = took.seconds, took.cpu
        return work

    def _detect(self, work: VideoWork, frames: Frames, plan: Plan) -> None:
        seconds, cut_before = [float(s) for s in frames.seconds], cuts(frames.images)
        between = frames_between(seconds, cut_before) if plan.tolerance else None
        frames, found, _ = find_upright(self.detector, frames, plan.thorough, between)
        people = track(found, seconds, cuts=cut_before)
        lone = use_lone_faces(found, people)
        for number, image in enumerate(frames.images):
            mirrored = self.blend.mirror and number % 2 == 1
            for index in np.flatnonzero(people[number] != STRAY):
                work.faces.append(scored_face(frames, number, found[number], int(index), int(people[number][index])))
                self._cut(work, image, found[number], int(index), mirrored)
                work.points.append((found[number].points_xy[index], mirrored))
                if self.options.thumbnails:
                    work.pictures.append(face_picture(image, found[number].boxes_xyxy[index]))
        work.info, work.looked = frames.info, len(frames.images)
        said = (frames.note, *evidence_notes(work.faces, work.looked, frames.info.frames), lone)
        work.note = "; ".join(part for part in said if part)
        work.thumbnails = thumbnails_of(frames) if self.options.thumbnails else ()

    def _cut(self, work: VideoWork, image: Image, faces: FrameFaces, index: int, mirrored: bool) -> None:
        """One crop per CropSpec: members that look at the same crop share it."""
        for spec in {loaded.card.crop for loaded in self._members(work.plan)}:
            crop = cut(image, faces.boxes_xyxy[index], spec, faces.points_xy[index])
            work.crops.setdefault(spec, []).append(np.flip(crop, 1) if mirrored else crop)

    def _blend(self, plan: Plan) -> Blend:
        return self.blend.fallback(plan.fallback).needed()

    def _members(self, plan: Plan) -> list[LoadedMember]:
        names = self._blend(plan).members if plan.fallback else [loaded.card.name for loaded in self.loaded_members]
        return [loaded for loaded in self.loaded_members if loaded.card.name in names]

    def _score(self, waiting: list[VideoWork], scheduler: Scheduler) -> Iterator[tuple[Path, VideoResult]]:
        """Let the members score the crops of all waiting videos in one go; their plans score alike."""
        if not waiting:
            return
        plan = waiting[0].plan
        with clocked() as took:
            scored = score_faces(waiting, self._members(plan), self._blend(plan), plan.tolerance)
        total = sum(len(mine.faces) for mine in scored)
        for work, mine in zip(waiting, scored, strict=True):
            if work.info is not None:
                share = len(mine.faces) / max(1, total)
                work.seconds["judge"], work.cpu["judge"] = took.seconds * share, took.cpu * share
            result = self._finish(work, mine)
            scheduler.finished(work.path, result)
            yield work.path, result

    def _finish(self, work: VideoWork, mine: Scored) -> VideoResult:
        info = work.info
        if info is None:
            unseen = self.blend.unseen
            return VideoResult(work.path.name, work.outcome, unseen, work.reason, seconds=work.seconds, cpu=work.cpu)
        seen, with_face = Counter(face.person for face in work.faces), len({face.frame for face in work.faces})
        work.keep(mine.faces)
        known = VideoResult(
            work.path.name,
            "no_face",
            self.blend.unseen,
            "; ".join(part for part in (f"no face in {work.looked} frames", work.note) if part),
            looked=work.looked,
            with_face=with_face,
            thumbnails=choose_thumbnails(work.thumbnails, self.options.thumbnails, {face.frame for face in work.faces}),
            width=info.width,
            height=info.height,
            fps=info.fps,
            frames=info.frames,
            duration=info.duration,
            seconds=work.seconds,
            cpu=work.cpu,
        )
        if not work.faces:
            return known
        person = np.array([face.person for face in work.faces])
        verdict = self._blend(work.plan).predict(mine.logits, person, face_pixels_of(work.faces))
        scored = replace(
            known,
            status="ok",
            prob_fake=verdict.prob_fake,
            reason=work.note,
            faces=tuple(with_logits(face, i, mine.logits, verdict.faces) for i, face in enumerate(work.faces)),
            people=people_of(verdict, seen),
        )
        closeups = closeups_of(scored, work.pictures)
        if self.options.heatmap and closeups and scored.prob_fake >= PRIOR:
            with clocked() as took:
                closeups = with_heat(closeups, scored, work, self.loaded_members, self._blend(work.plan))
            work.seconds["judge"] += took.seconds  # the planner has to know of it; the result shares these dictionaries
            work.cpu["judge"] += took.cpu
        return replace(scored, closeups=closeups)


def make_pipeline(
    options: PredictOptions,
    device: Device | torch.device,
    members: Path = WEIGHTS_DIR,
    threads: int = 0,
    blend: Blend | None = None,
) -> Pipeline:
    """The detectors and the members of the blend, on `device`; DfdcError when weights are missing or damaged.

    blend: what `load_blend` gives; only its members run. Without one all of `members` do, with equal weights.
    """
    names = None if blend is None else blend.members
    loaded_members = load_members(device, members, threads=threads, names=names)
    return Pipeline(Cascade(device, threads=threads), loaded_members, options, blend, device)
