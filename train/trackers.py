"""Where a run is shown while it runs: TensorBoard's events always, Weights & Biases and MLflow where asked for."""

from __future__ import annotations

import math
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, Protocol, get_args

import torch

from common.errors import DfdcError
from common.files import write_text

TrackerName = Literal["wandb", "mlflow"]
PROJECT = "dfdc-ensemble"  # the project of W&B and the experiment of MLflow
MLFLOW_RUN = "mlflow_run.txt"  # in a run's folder: the id by which a resumed run goes on in MLflow


class Tracker(Protocol):
    """One place that shows a run."""

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Add the values of a step; all are finite."""

    def close(self) -> None:
        """Write what is left."""


class TensorBoard:
    """Events in the run's folder; look with: tensorboard --logdir runs."""

    def __init__(self, folder: Path) -> None:
        """Open a file of events.

        Raises:
            DfdcError: the package tensorboard is not installed.
        """
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise _missing("tensorboard", error) from error
        self._events = SummaryWriter(log_dir=str(folder))

    def log(self, values: Mapping[str, float], step: int) -> None:
        """As `Tracker.log`."""
        for key, value in values.items():
            self._events.add_scalar(key, value, step)

    def close(self) -> None:
        """As `Tracker.close`."""
        self._events.close()


class WandB:
    """A run of Weights & Biases; its own environment (WANDB_API_KEY, WANDB_MODE) says where it goes."""

    def __init__(self, folder: Path, title: str, config: Mapping[str, Any]) -> None:
        """Begin the run, or go on with the one of this folder.

        Raises:
            DfdcError: the package wandb is not installed, or it cannot begin.
        """
        try:
            import wandb
        except ImportError as error:
            raise _missing("wandb", error) from error
        marker = folder / "wandb_run.txt"
        identity = marker.read_text(encoding="utf-8") if marker.exists() else secrets.token_hex(4)
        try:
            self._run = wandb.init(
                project=PROJECT, name=title, id=identity, resume="allow", dir=str(folder), config=dict(config)
            )
        except wandb.Error as error:
            raise DfdcError(f"W&B did not begin ({error}); run: wandb login, or set WANDB_MODE=offline") from error
        write_text(marker, identity)

    def log(self, values: Mapping[str, float], step: int) -> None:
        """As `Tracker.log`."""
        self._run.log(dict(values), step=step)

    def close(self) -> None:
        """As `Tracker.close`."""
        self._run.finish()


class MLflow:
    """A run of MLflow at MLFLOW_TRACKING_URI, or in its default place."""

    def __init__(self, folder: Path, title: str, config: Mapping[str, Any]) -> None:
        """Begin the run, or go on with the one of this folder.

        Raises:
            DfdcError: the package mlflow is not installed, or its server does not answer.
        """
        try:
            from mlflow import MlflowClient
            from mlflow.entities import Param
            from mlflow.exceptions import MlflowException
        except ImportError as error:
            raise _missing("mlflow", error) from error
        marker = folder / MLFLOW_RUN
        try:
            self._client = MlflowClient()
            if marker.exists():
                self._run = marker.read_text(encoding="utf-8")
                self._client.update_run(self._run, status="RUNNING")
                return
            experiment = self._client.get_experiment_by_name(PROJECT)
            number = experiment.experiment_id if experiment else self._client.create_experiment(PROJECT)
            self._run = self._client.create_run(number, run_name=title).info.run_id
            self._client.log_batch(self._run, params=[Param(key, str(value)) for key, value in config.items()])
        except MlflowException as error:
            first = str(error).splitlines()[0]
            raise DfdcError(f"MLflow did not begin ({first}); is MLFLOW_TRACKING_URI right?") from error
        write_text(marker, self._run)

    def log(self, values: Mapping[str, float], step: int) -> None:
        """As `Tracker.log`."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        self._client.log_batch(self._run, metrics=[Metric(key, value, now, step) for key, value in values.items()])

    def close(self) -> None:
        """As `Tracker.close`."""
        self._client.set_terminated(self._run)


def _missing(package: str, error: ImportError) -> DfdcError:
    return DfdcError(f"--track {package} needs its package ({error}); run: pip install {package}")


class RunLog:
    """What a run tells its trackers: per step the loss, the rate, the speed and where it waits; per epoch its row.

    Args:
        trackers: that are told; none in all processes but the first.
        device: whose memory is told.
        faces: that a step shows, in all processes.
    """

    def __init__(self, trackers: Sequence[Tracker], device: torch.device, faces: int) -> None:
        self.trackers, self.device, self.faces = trackers, device, faces
        self._waited, self._steps, self._since = 0.0, 0, time.monotonic()

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Count the time inside as time in which the step waits for data."""
        began = time.monotonic()
        try:
            yield
        finally:
            self._waited += time.monotonic() - began
            self._steps += 1

    def begin(self) -> None:
        """Begin to measure: what went before, such as a validation, is no training time."""
        self._waited, self._steps, self._since = 0.0, 0, time.monotonic()

    def look(self, step: int, loss: float, rate: float) -> None:
        """Tell what has been since the last look.

        Args:
            step: the number of the last one.
            loss: the sum over the steps since.
            rate: the learning rate of the last step.
        """
        seconds, steps = time.monotonic() - self._since, self._steps
        if self.trackers and steps:
            values = {
                "step/loss": loss / steps,
                "step/lr": rate,
                "step/faces_per_second": self.faces * steps / max(seconds, 1e-9),
                "step/data_wait": self._waited / max(seconds, 1e-9),  # share of the time, 0..1
            }
            if self.device.type == "cuda":
                values["step/gpu_memory_gib"] = torch.cuda.max_memory_allocated(self.device) / (1 << 30)
            self._tell(values, step)
        self.begin()

    def epoch(self, row: Mapping[str, Any]) -> None:
        """Tell the row of history.csv of an epoch."""
        values = {key: float(value) for key, value in row.items() if key not in ("epoch", "step")}
        self._tell({key: value for key, value in values.items() if math.isfinite(value)}, int(row["step"]))

    def close(self) -> None:
        """Close all trackers."""
        for tracker in self.trackers:
            tracker.close()
        self.trackers = ()

    def _tell(self, values: Mapping[str, float], step: int) -> None:
        for tracker in self.trackers:
            tracker.log(values, step)


def open_trackers(names: Sequence[str], folder: Path, title: str, config: Mapping[str, Any]) -> list[Tracker]:
    """Open TensorBoard's events and the trackers that are asked for.

    Args:
        names: wandb, mlflow, or none.
        folder: of the run; a resumed run goes on under its old id.
        title: what the run is called.
        config: its options, which trackers show beside it.

    Returns:
        The trackers, to be closed by the caller.

    Raises:
        ValueError: a name that is no tracker.
        DfdcError: a tracker's package is not installed, or it cannot begin.
    """
    kinds: dict[str, type[WandB | MLflow]] = {"wandb": WandB, "mlflow": MLflow}
    if strange := [name for name in names if name not in kinds]:
        raise ValueError(f"--track {strange[0]!r} is none of {', '.join(get_args(TrackerName))}")
    asked: list[Tracker] = [kinds[name](folder, title, config) for name in dict.fromkeys(names)]
    return [TensorBoard(folder), *asked]
