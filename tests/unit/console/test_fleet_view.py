"""The live view of all shards: what it shows, and that it fits every terminal."""

import io
import re

import pytest
from rich.console import Console

from raymu.console.fleet_progress import FleetProgress
from raymu.console.fleet_view import FleetView
from raymu.core.records import Remedy
from raymu.service.shard.messages import FleetLoad, StageProgress


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def a_stage(shard: int, number: int, *, of: int = 5, load: FleetLoad | None = None) -> StageProgress:
    """Return the last stages of a shard's five."""
    return StageProgress(
        shard=shard, stage=number, first=5 - of, stages=of, remedy=None, passes=1200.0, seconds=0.5, load=load
    )


def fleet_after(shards: int, workers: int, *, stages: int) -> FleetProgress:
    """Return the progress after some stages of training: a second each, five for each shard, by workers in turn."""
    clock = Clock()
    progress = FleetProgress(clock)
    running = dict.fromkeys(range(min(workers, shards)), 0)
    done = 0
    while running:
        for shard in list(running):
            if clock.now_s == stages:
                return progress
            clock.now_s += 1.0
            load = FleetLoad(running=tuple(running), waiting=shards - done - len(running), done=done)
            progress(a_stage(shard, running[shard], load=load))
            running[shard] += 1
            if running[shard] == 5:
                del running[shard]
                done += 1
                if done + len(running) < shards:
                    running[done + len(running)] = 0
    return progress


def drawn(progress: FleetProgress, *, width: int, height: int) -> list[str]:
    console = Console(width=width, height=height, force_terminal=True, file=io.StringIO(), record=True)
    console.print(FleetView(progress))
    return console.export_text().splitlines()


@pytest.mark.parametrize(("shards", "workers"), [(1, 1), (8, 8), (200, 2), (200, 64), (1000, 300)])
def test_the_view_never_outgrows_the_terminal(shards: int, workers: int) -> None:
    for stages in (0, 1, 7, 600, 5000):
        progress = fleet_after(shards, workers, stages=stages)
        for width, height in ((200, 60), (80, 24), (72, 24), (60, 10), (44, 8), (30, 5), (20, 3)):
            lines = drawn(progress, width=width, height=height)
            assert 1 <= len(lines) < height, f"at {width}x{height}; a line stays free for the cursor"
            assert max(len(line) for line in lines) <= width, f"at {width}x{height}"


def test_two_hundred_shards_on_two_workers() -> None:
    all_shards, first, second, counts = drawn(fleet_after(200, 2, stages=143), width=80, height=24)
    assert re.fullmatch(r"all +\S+ +28 of 200 shards +4,800 passes/s ?", all_shards)
    assert re.fullmatch(r"shard 28 train \S+ +2 of 5 stages +2,400 passes/s ?", first)
    assert re.fullmatch(r"shard 29 train \S+ +1 of 5 stages +2,400 passes/s ?", second)
    assert counts == "about 0:14:14 left after 0:02:22: 2 running, 170 waiting, 28 done"


def test_shards_that_do_not_fit_are_counted() -> None:
    lines = drawn(fleet_after(200, 64, stages=700), width=80, height=24)
    assert sum(line.startswith("shard ") for line in lines) == 20
    assert lines[-2] == "and 44 more running"


def test_a_narrow_terminal_shows_numbers_without_bars_and_speeds() -> None:
    assert drawn(fleet_after(200, 2, stages=143), width=40, height=24)[:2] == [
        "all            28 of 200 shards",
        "shard 28 train    2 of 5 stages",
    ]


def test_before_the_first_stage_its_phase_is_shown() -> None:
    clock = Clock()
    progress = FleetProgress(clock)
    clock.now_s = 65.0
    assert drawn(progress, width=80, height=24) == ["starting: 0:01:05"]
    progress.begin_phase("reading the data")
    clock.now_s = 70.0
    assert drawn(progress, width=80, height=24) == ["reading the data: 0:00:05"]


def test_the_clock_and_the_estimate_start_with_the_first_stage() -> None:
    clock = Clock()
    progress = FleetProgress(clock)
    clock.now_s = 40.0  # of starting
    load = FleetLoad(running=(0, 1), waiting=0, done=0)
    progress(a_stage(0, 0, load=load))
    assert progress.elapsed_s == 0.5, "the seconds of the stage"
    assert progress.remaining_s == pytest.approx(4.5), "a tenth took half a second"
    assert drawn(progress, width=80, height=24)[-1].startswith("about 0:00:04 left after 0:00:00: ")


def test_stages_that_were_trained_before_do_not_count_as_fast_ones() -> None:
    clock = Clock()
    progress = FleetProgress(clock)
    progress(a_stage(3, 3, load=FleetLoad(running=(3,), waiting=0, done=0)))
    assert progress.fraction == 0.8
    assert progress.remaining_s == pytest.approx(0.5), "one stage of half a second is left"


def test_a_shard_without_a_report_has_begun() -> None:
    progress = FleetProgress(Clock())
    progress(a_stage(3, 0, load=FleetLoad(running=(3, 7), waiting=0, done=0)))
    assert [(shard.shard, shard.stages) for shard in progress.running] == [(3, 5), (7, 0)]
    assert progress.fraction == pytest.approx(0.1)


def test_all_is_done_with_the_last_stage() -> None:
    progress = fleet_after(8, 3, stages=40)
    assert (progress.done, progress.shards, progress.fraction, progress.running) == (8, 8, 1.0, ())
    assert progress.remaining_s == 0.0


def test_a_worker_that_was_lost_begins_its_shard_again() -> None:
    progress = FleetProgress(Clock())
    load = FleetLoad(running=(3,), waiting=0, done=0)
    fractions = []
    for number in (2, 3, 2, 3, 4):
        progress(a_stage(3, number, of=3, load=load))
        fractions.append(progress.fraction)
    assert fractions == pytest.approx([1 / 3, 2 / 3, 1 / 3, 2 / 3, 1.0])


def test_a_resumed_shard_counts_its_earlier_stages() -> None:
    progress = FleetProgress(Clock())
    for number in (3, 4):
        progress(a_stage(3, number, load=FleetLoad(running=(3,), waiting=0, done=0)))
        assert progress.fraction == pytest.approx((number + 1) / 5)


def test_the_next_batch_starts_at_zero() -> None:
    clock = Clock()
    progress = FleetProgress(clock)
    progress(a_stage(3, 4, of=1, load=FleetLoad(running=(3,), waiting=0, done=9)))
    clock.now_s = 100.0
    progress(a_stage(3, 3, of=2, load=FleetLoad(running=(3, 4), waiting=2, done=0)))
    assert (progress.done, progress.shards, progress.elapsed_s) == (0, 4, 0.5)
    assert [(shard.shard, shard.done) for shard in progress.running] == [(3, 1), (4, 0)]


def test_without_a_load_the_shards_with_reports_are_shown() -> None:
    progress = FleetProgress(Clock())
    for shard, number in ((0, 3), (0, 4), (1, 3)):
        progress(a_stage(shard, number, of=2))
    assert (progress.done, progress.shards) == (1, 2)
    assert [shard.shard for shard in progress.running] == [1]


def test_a_patch_is_named_in_plain_words() -> None:
    progress = FleetProgress(Clock())
    stage = StageProgress(shard=1, stage=3, first=3, stages=2, remedy=Remedy.FINE_TUNE, passes=1.0, seconds=1.0)
    progress(stage)
    assert progress.running[0].remedy == "patch and fine-tune"
