"""What the driver does when workers die, hang or lose their storage: with an engine that does as it is told."""

from collections import deque

import pytest

from scale.driver import LOST, STORAGE_TRIES, WINDOW, Driver, Outcome
from scale.store import Store, UnitReport
from scale.units import Item, Unit


def unit(number, videos=4):
    return Unit.of(number, [Item(f"{number}/{video}.mp4", 10) for video in range(videos)], "options")


class Scripted:
    """Runs units at once; some videos kill or hang their worker, some units meet a storage that fails."""

    def __init__(self, store, slots=2, kills=(), hangs=(), lost=(), storage=()):
        self.store, self.slots, self.queue = store, slots, deque()
        self.kills, self.hangs = set(kills), set(hangs)
        self.lost, self.storage = list(lost), list(storage)
        self.most, self.cancelled, self.submitted, self.closed = 0, [], [], False

    def submit(self, attempt):
        self.submitted.append(attempt)
        self.queue.append(attempt)
        self.most = max(self.most, len(self.queue))

    def poll(self, seconds):
        for attempt in list(self.queue):
            outcome = self.outcome(attempt)
            if outcome is not None:
                self.queue.remove(attempt)
                return [outcome]
        return []

    def outcome(self, attempt):
        number = attempt.unit.number
        for script, ending in ((self.lost, "lost"), (self.storage, "storage")):
            if number in script:
                script.remove(number)
                report = UnitReport(attempt.unit.id, False, reason="503 Slow Down")
                return Outcome(attempt.unit.id, "lost" if ending == "lost" else "reported",
                               None if ending == "lost" else report, "its machine went away")  # fmt: skip
        for item in attempt.unit.items:
            if item.name in attempt.aside:
                continue
            if attempt.careful:
                self.store.mark(attempt.unit, item.name)
            if item.name in self.kills:
                return Outcome(attempt.unit.id, "crashed", reason="died")
            if item.name in self.hangs:
                return None
        statuses = {"ok": len(attempt.unit.items) - len(attempt.aside)}
        for status, _ in attempt.aside.values():
            statuses[status] = statuses.get(status, 0) + 1
        return Outcome(attempt.unit.id, "reported", UnitReport(attempt.unit.id, True, statuses))

    def cancel(self, unit_id):
        self.cancelled.append(unit_id)
        self.queue = deque(attempt for attempt in self.queue if attempt.unit.id != unit_id)

    def close(self):
        self.closed = True


class Ticking:
    """A clock that goes on by a second with each look."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        self.now += 1
        return self.now


def run(tmp_path, units, **script):
    engine = Scripted(Store(str(tmp_path / "store")), **script)
    summary = Driver(engine.store, engine, unit_seconds=100, clock=Ticking()).run(units)
    assert engine.closed and not engine.store.folder.sizes()  # no mark stays
    return engine, summary


def test_every_unit_is_run_once(tmp_path):
    engine, summary = run(tmp_path, (unit(n) for n in range(20)))
    assert (summary.units, summary.statuses, summary.pending) == (20, {"ok": 80}, 0)
    assert [attempt.unit.number for attempt in engine.submitted] == list(range(20))
    assert engine.most <= WINDOW * engine.slots


def test_the_driver_pulls_no_more_units_than_its_window(tmp_path):
    ahead = []

    def units():
        for number in range(50):
            ahead.append(number - summary_of())
            yield unit(number)

    engine = Scripted(Store(str(tmp_path)), slots=3)
    driver = Driver(engine.store, engine, 100, Ticking())
    summary_of = lambda: driver.summary.units  # noqa: E731
    driver.run(units())
    assert max(ahead) <= WINDOW * 3


def test_a_video_that_kills_twice_is_given_up_and_no_other(tmp_path):
    engine, summary = run(tmp_path, [unit(0), unit(1), unit(2)], kills=["1/2.mp4", "1/3.mp4"])
    assert summary.units == 3 and summary.statuses == {"ok": 10, "crashed": 2}
    assert [(a.careful, sorted(a.aside)) for a in engine.submitted if a.unit.number == 1] == [
        (False, []), (True, []), (True, ["1/2.mp4"]), (True, ["1/2.mp4", "1/3.mp4"]),
    ]  # fmt: skip
    assert engine.submitted[-1].aside["1/2.mp4"] == ("crashed", "the process that worked on it died")


def test_a_video_that_hangs_is_cut_by_force(tmp_path):
    engine, summary = run(tmp_path, [unit(0), unit(1)], hangs=["0/1.mp4"])
    assert summary.statuses == {"ok": 7, "timed_out": 1}
    assert engine.cancelled == [unit(0).id] * 2
    assert "--unit-seconds" in engine.submitted[-1].aside["0/1.mp4"][1]


def test_a_machine_that_goes_away_is_nobodys_fault(tmp_path):
    engine, summary = run(tmp_path, [unit(0), unit(1)], lost=[0] * (LOST - 1))
    assert summary.statuses == {"ok": 8} and not any(a.careful or a.aside for a in engine.submitted)


def test_machines_that_always_go_away_leave_a_unit_undone(tmp_path):
    _, summary = run(tmp_path, [unit(0), unit(1)], lost=[0] * LOST)
    assert (summary.units, summary.pending, summary.statuses) == (1, 1, {"ok": 4})
    assert f"unit 0: its machine went away {LOST} times" in str(summary)


def test_a_storage_that_answers_again_costs_nothing(tmp_path):
    _, summary = run(tmp_path, [unit(0), unit(1)], storage=[1] * (STORAGE_TRIES - 1))
    assert summary.statuses == {"ok": 8} and summary.pending == 0


def test_a_storage_that_stays_silent_leaves_units_undone_and_none_is_half(tmp_path):
    _, summary = run(tmp_path, (unit(n) for n in range(6)), storage=[n for n in range(6) for _ in range(STORAGE_TRIES)])
    assert (summary.units, summary.pending, summary.statuses) == (0, 6, {})
    assert "unit 5: 503 Slow Down" in str(summary) and "the same command goes on" in str(summary)


def test_a_worker_that_does_not_fit_ends_the_run(tmp_path):
    class Refusing(Scripted):
        def poll(self, seconds):
            raise ValueError("the code of this run is another")

    engine = Refusing(Store(str(tmp_path)))
    with pytest.raises(ValueError, match="another"):
        Driver(engine.store, engine, 100).run([unit(0)])
    assert engine.closed
