from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest

from raymu.config import UnlearningConfig
from raymu.config.unlearning import Strategy
from raymu.core.board.board import RevocationBoard
from raymu.core.commands import PublishGeneration, RepairShard
from raymu.core.events import DamageFound, Event, GenerationPublished, RequestsPurged, ShardRepaired
from raymu.core.receipts import Receipts
from raymu.core.records import Generation, ShardState
from raymu.core.run_shape import RunShape
from raymu.report.grid import CheckpointState, Grid, grid_of
from tests.unit.core.examples import EPOCHS, NOW, accepted, extended, report_of, request, training

SOUND, TOUCHED = CheckpointState.SOUND, CheckpointState.TOUCHED
TAINTED, DESTROYED, LOST = CheckpointState.TAINTED, CheckpointState.DESTROYED, CheckpointState.LOST
UNTRAINED = CheckpointState.UNTRAINED


class GridScenario:
    """A run of three shards with four slices, and its grid as its generations are published."""

    def __init__(self, **unlearning: Any) -> None:
        self.board = RevocationBoard(RunShape(unlearning=UnlearningConfig(**unlearning), epochs=EPOCHS), workers=2)
        self.book = Receipts()
        self.events: list[Event] = []
        self.published = PublishGeneration(cause="train", constituents=(), lineages=())
        for event in training():
            self.happens(event)

    def happens(self, event: Event) -> list[RepairShard]:
        """Handle events. Return the remedies that follow."""
        self.events.append(event)
        self.book.handle(event)
        commands = self.board.handle(event)
        self.published = next(
            (command for command in commands if isinstance(command, PublishGeneration)), self.published
        )
        return [command for command in commands if isinstance(command, RepairShard)]

    def repaired(self, command: RepairShard, touched: Mapping[int, int]) -> None:
        self.happens(ShardRepaired(at=NOW, report=report_of(command, touched, version="1")))
        made = self.published
        self.happens(GenerationPublished(at=NOW, number=3, manifest_sha256="", repaired=made.repaired))

    def grid(self, accuracy: Mapping[int, float] | None = None) -> Grid:
        generation = Generation(
            number=2,
            previous_sha256="",
            cause=self.published.cause,
            request_ids=(),
            published_at=NOW,
            constituents=self.published.constituents,
            lineages=self.published.lineages,
        )
        return grid_of(generation, self.book.receipts(), self.events, accuracy or {})


def states(grid: Grid, shard: int) -> list[CheckpointState]:
    return [cell.checkpoint for cell in grid.rows[shard].cells]


def served(grid: Grid, shard: int) -> list[int]:
    return [stage for stage, cell in enumerate(grid.rows[shard].cells) if cell.is_served]


def test_a_waiting_request_leaves_a_rewound_shard_with_touched_checkpoints() -> None:
    scenario = GridScenario()
    scenario.happens(accepted(request("r1", {0: {2: 1}})))
    grid = scenario.grid({0: 0.5})
    assert states(grid, 0) == [SOUND, SOUND, TOUCHED, TOUCHED]
    assert (grid.rows[0].state, served(grid, 0), grid.rows[0].open_requests) == (ShardState.REWOUND, [1], 1)
    assert (states(grid, 1), served(grid, 1), grid.rows[1].open_requests) == ([SOUND] * 4, [3], 0)
    assert [row.accuracy for row in grid.rows] == [0.5, None, None]


def test_a_shard_that_keeps_serving_is_shown_with_its_touched_slices() -> None:
    scenario = GridScenario(on_accept="keep")
    scenario.happens(accepted(request("r1", {0: {1: 1}}), request("r2", {1: {0: 1}})))
    grid = scenario.grid()
    assert states(grid, 0) == [SOUND, TOUCHED, TOUCHED, TOUCHED]
    assert (grid.rows[0].state, served(grid, 0)) == (ShardState.EXACT, [3])


def test_an_abstaining_shard_serves_nothing() -> None:
    scenario = GridScenario()
    scenario.happens(accepted(request("r1", {0: {0: 1}})))
    grid = scenario.grid()
    assert (states(grid, 0), served(grid, 0)) == ([TOUCHED] * 4, [])
    assert (grid.rows[0].state, grid.rows[0].weights_sha256) == (ShardState.ABSTAINING, None)
    assert grid.states == {**dict.fromkeys(ShardState, 0), ShardState.EXACT: 2, ShardState.ABSTAINING: 1}


def test_a_patched_shards_checkpoints_are_tainted_until_the_purge_and_destroyed_after_it() -> None:
    scenario = GridScenario()
    [command] = scenario.happens(accepted(request("r1", {0: {1: 2}}, strategy=Strategy.DPUS)))
    scenario.repaired(command, {1: 2})
    grid = scenario.grid()
    assert states(grid, 0) == [SOUND, TAINTED, TAINTED, TAINTED]
    scenario.happens(RequestsPurged(at=NOW + timedelta(seconds=1), request_ids=("r1",), files=(), rows=2))
    grid = scenario.grid()
    assert states(grid, 0) == [SOUND, DESTROYED, DESTROYED, DESTROYED]
    assert (grid.rows[0].state, served(grid, 0), grid.rows[0].open_requests) == (ShardState.APPROXIMATE, [], 1)
    assert grid.checkpoints == {SOUND: 9, TOUCHED: 0, TAINTED: 0, DESTROYED: 3, LOST: 0, UNTRAINED: 0}


def test_the_stage_of_an_added_slice_is_untrained_until_its_training_is_published() -> None:
    scenario = GridScenario()
    first, *_ = scenario.happens(extended(slice_samples=(5,)))
    scenario.happens(GenerationPublished(at=NOW, number=2, manifest_sha256=""))
    grid = scenario.grid()
    assert (grid.slices, states(grid, 0), served(grid, 0)) == (5, [SOUND] * 4 + [UNTRAINED], [3])
    scenario.repaired(first, {})
    assert (states(scenario.grid(), 0), served(scenario.grid(), 0)) == ([SOUND] * 5, [4])


@pytest.mark.parametrize("slice_index", [0, 3])
def test_a_retrained_shard_is_sound_again(slice_index: int) -> None:
    scenario = GridScenario()
    [command] = scenario.happens(accepted(request("r1", {0: {slice_index: 2}})))
    scenario.repaired(command, {slice_index: 2})
    grid = scenario.grid()
    assert (states(grid, 0), served(grid, 0), grid.rows[0].open_requests) == ([SOUND] * 4, [3], 0)
    assert grid.rows[0].cells[slice_index].samples == 8


def test_what_is_damaged_is_lost_until_it_is_trained_again() -> None:
    scenario = GridScenario()
    [command] = scenario.happens(DamageFound(at=NOW, first_stages={1: 2}))
    grid = scenario.grid()
    assert (states(grid, 1), served(grid, 1)) == ([SOUND, SOUND, LOST, LOST], [1])
    scenario.repaired(command, {})
    grid = scenario.grid()
    assert (states(grid, 1), served(grid, 1)) == ([SOUND] * 4, [3])


def test_a_repaired_shard_is_shown_as_it_is_served_until_its_publication() -> None:
    scenario = GridScenario()
    first, _ = scenario.happens(accepted(request("r1", {0: {2: 1}, 1: {1: 1}})))
    rewound = scenario.published
    scenario.happens(ShardRepaired(at=NOW, report=report_of(first, {}, version="1")))
    repaired, scenario.published = scenario.published, rewound
    grid = scenario.grid()
    assert grid.rows[first.shard].state is ShardState.REWOUND
    assert TOUCHED in states(grid, first.shard)
    scenario.published = repaired
    scenario.happens(GenerationPublished(at=NOW, number=3, manifest_sha256=""))
    grid = scenario.grid()
    assert (grid.rows[first.shard].state, states(grid, first.shard)) == (ShardState.EXACT, [SOUND] * 4)
