"""What a training tells its trackers: every look and every epoch, going on after a stop."""

import dataclasses

import pytest

from tests.train.running import CONFIG, run
from tests.train.test_trackers import events_of, store
from train.loop import LOOK_EVERY
from train.trackers import PROJECT

__all__ = ["store"]  # a fixture


@pytest.mark.slow
def test_steps_and_epochs_are_shown_and_a_resumed_run_is_one(data, tmp_path, store):
    config = dataclasses.replace(CONFIG, epochs=2)
    assert run(data, tmp_path / "run", config, until=1, track=("mlflow",)) is None
    assert run(data, tmp_path / "run", config, track=("mlflow",)) is not None
    (shown,) = store.search_runs([store.get_experiment_by_name(PROJECT).experiment_id])
    assert shown.info.status == "FINISHED"
    in_all = 2 * 12  # optimiser steps
    looks = [metric.step for metric in store.get_metric_history(shown.info.run_id, "step/loss")]
    assert looks == sorted({*range(LOOK_EVERY, in_all + 1, LOOK_EVERY), in_all // 2, in_all})
    assert [m.step for m in store.get_metric_history(shown.info.run_id, "val_auc")] == [in_all // 2, in_all]
    events = events_of(tmp_path / "run")
    assert [step for step, _ in events["step/loss"]] == looks
    assert all(0 <= value <= 1 for _, value in events["step/data_wait"])
    assert all(value > 0 for _, value in events["step/faces_per_second"])
