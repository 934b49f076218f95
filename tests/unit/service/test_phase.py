"""Phases are timed, and add up to the whole."""

from raymu.core.fleet_choice import FleetChoice
from raymu.service.coordinator.stage_times import stages_timed
from raymu.service.phase import PUBLISHING, TRAINING, PhaseTimes, begin_phase, phases_timed, say_fleet
from raymu.service.shard.messages import StageProgress, no_progress


class Clock:
    """A clock that stands still until it is moved."""

    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_a_phase_lasts_until_the_next_begins_and_is_added_up() -> None:
    clock = Clock()
    times = PhaseTimes(clock)
    for phase, seconds in (("reading", 1.0), ("training", 2.0), ("reading", 4.0)):
        times.begin(phase)
        clock.now_s += seconds
    assert times.seconds() == {"reading": 5.0, "training": 2.0}


def test_a_phase_that_is_noticed_late_takes_its_seconds_from_the_one_before() -> None:
    clock = Clock()
    times = PhaseTimes(clock)
    times.begin("waiting")
    clock.now_s = 3.0
    times.begin("training", earlier_s=2.0)
    assert times.seconds() == {"waiting": 1.0, "training": 2.0}


def test_no_phase_begins_before_the_one_before_it() -> None:
    clock = Clock()
    times = PhaseTimes(clock)
    times.begin("waiting")
    clock.now_s = 3.0
    times.begin("training", earlier_s=100.0)
    assert times.seconds() == {"waiting": 0.0, "training": 3.0}


def stage(number: int, *, stages: int) -> StageProgress:
    return StageProgress(shard=0, stage=number, first=0, stages=stages, remedy=None, passes=1.0, seconds=0.0)


def test_what_follows_the_last_stage_is_publication() -> None:
    with phases_timed() as times:
        begin_phase("waiting")
        say_fleet(FleetChoice(fleet="local", reason="it is quick"))
        with stages_timed(no_progress) as progress:
            progress(stage(0, stages=2))
            assert times.phase == TRAINING
            progress(stage(1, stages=2))
            assert times.phase == PUBLISHING
    assert list(times.seconds()) == ["waiting", TRAINING, PUBLISHING]
    assert str(times.fleet) == "this process: it is quick"


def test_without_a_listener_phases_are_ignored() -> None:
    begin_phase("waiting")
    with stages_timed(no_progress) as progress:
        assert progress is no_progress
