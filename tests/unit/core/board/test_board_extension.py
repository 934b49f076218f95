"""Samples are added to a run as further slices: what is trained, served and destroyed meanwhile."""

import itertools

from raymu.config import UnlearningConfig
from raymu.config.unlearning import Strategy
from raymu.core.board.board import RevocationBoard
from raymu.core.commands import PublishGeneration, RepairShard
from raymu.core.events import Event, GenerationPublished, RunTrained, ShardFailed, ShardRepaired
from raymu.core.records import Exactness, Remedy, ShardState
from raymu.core.run_shape import RunShape
from tests.unit.core.commands import publications, purges, repaired, repairs
from tests.unit.core.examples import (
    EPOCHS,
    NOW,
    SLICES,
    accepted,
    extended,
    lineage,
    report_of,
    request,
    table,
    trained_board,
    training,
)


def served(number: int) -> GenerationPublished:
    return GenerationPublished(at=NOW, number=number, manifest_sha256="")


def begun(board: RevocationBoard, *, slice_samples: tuple[int, ...] = (5,)) -> list[RepairShard]:
    """Extend a run of three shards, publish that, and return the trainings."""
    commands = board.handle(extended(slice_samples=slice_samples))
    board.handle(served(2))
    return sorted(repairs(commands), key=lambda command: command.shard)


def test_only_the_new_stages_are_trained() -> None:
    commands = begun(trained_board(), slice_samples=(5, 6))
    assert [(command.shard, command.earliest_slice, command.request_ids) for command in commands] == [
        (shard, SLICES, ()) for shard in range(3)
    ]
    assert {command.decision.remedy for command in commands} == {Remedy.RETRAIN}
    assert {command.decision.reason for command in commands} == {"samples were added"}
    assert {command.decision.passes for command in commands} == {3 * 45 + 3 * 51}
    assert commands[0].lineage.checkpoints[:SLICES] == lineage(0).checkpoints


def test_the_earlier_states_are_served_until_the_new_ones_are_trained() -> None:
    board = trained_board()
    [generation, *_] = board.handle(extended())
    assert isinstance(generation, PublishGeneration)
    assert generation.cause == "extend"
    assert {(each.state, each.stages_trained, each.samples) for each in generation.constituents} == {
        (ShardState.EXACT, SLICES, 40)
    }
    assert [each.checkpoint for each in generation.constituents] == [lineage(shard).serving for shard in range(3)]


def test_the_last_generation_serves_the_new_stages_and_nothing_is_left() -> None:
    board = trained_board()
    commands = begun(board)
    for number, command in enumerate(commands, start=3):
        assert board.is_extending
        [generation] = publications(board.handle(repaired(command)))
        assert generation.cause == "extend"
        purge = purges(board.handle(served(number)))
        assert all(lineage(command.shard).serving.file not in each.files for each in purge), "earlier stages stay"
    assert not board.is_extending
    assert {each.stages_trained for each in generation.constituents} == {SLICES + 1}
    assert board.epochs == (*EPOCHS, 3)


def test_the_tables_before_an_extension_are_destroyed_once_the_generation_with_the_new_ones_is_published() -> None:
    board = trained_board()
    assert purges(board.handle(extended())) == []
    [purge] = purges(board.handle(served(2)))
    assert purge.files == {table(shard, samples=40) for shard in range(3)}


def test_a_patched_shard_is_trained_from_its_debt_and_owes_nothing_after_it() -> None:
    board = trained_board()
    [patch] = repairs(board.handle(accepted(request("r1", {0: {2: 1}}, strategy=Strategy.DPUS))))
    board.handle(ShardRepaired(at=NOW, report=report_of(patch, {2: 1}, version="patched")))
    board.handle(served(2))
    first, *_ = begun(board)
    assert (first.shard, first.earliest_slice) == (0, 2)
    [generation] = publications(board.handle(repaired(first)))
    assert generation.settled == ("r1",)
    assert board.lineages[0].exactness is Exactness.EXACT


def test_a_request_for_samples_that_are_not_trained_on_yet_rewinds_nothing_and_waits() -> None:
    board = trained_board()
    first, *_ = begun(board)
    [generation] = publications(board.handle(accepted(request("r1", {0: {SLICES: 2}}))))
    assert generation.constituents[0].state is ShardState.EXACT
    assert generation.constituents[0].checkpoint == lineage(0).serving
    [second] = repairs(board.handle(repaired(first)))
    assert (second.request_ids, second.earliest_slice) == (("r1",), SLICES)


def test_a_request_for_an_earlier_slice_rewinds_as_ever() -> None:
    board = trained_board()
    begun(board)
    [generation] = publications(board.handle(accepted(request("r1", {1: {2: 1}}))))
    rewound = generation.constituents[1]
    assert (rewound.state, rewound.stages_trained) == (ShardState.REWOUND, 2)


def test_a_failed_training_is_begun_again_with_the_requests_that_came_meanwhile() -> None:
    board = trained_board()
    first, *_ = begun(board)
    board.handle(accepted(request("r1", {0: {1: 1}}, strategy=Strategy.DPUS)))
    commands = board.handle(ShardFailed(at=NOW, shard=0, command_id=first.command_id))
    assert repairs(commands) == []
    assert board.idle_with_work == {0}
    again = RevocationBoard.replayed(
        [*training(), extended(), served(2)], RunShape(unlearning=UnlearningConfig(), epochs=EPOCHS), workers=2
    )
    assert next(command.command_id for command in again.repairs) == first.command_id


def test_extending_twice_and_forgetting_in_any_order_ends_with_the_same_samples() -> None:
    """The law of the lineage: the slices are those of the history, without what was forgotten."""
    forgotten = {0: 1, 3: 2, SLICES: 1}
    for order in itertools.permutations(forgotten):
        board, number = trained_board(1), itertools.count(2)
        steps: list[Event] = [
            extended(1),
            *(accepted(request(f"r{each}", {0: {each: forgotten[each]}})) for each in order),
        ]
        for step in steps:
            commands = repairs(board.handle(step))
            while commands:
                [command] = commands
                touched = {each: forgotten[each] for each in forgotten if f"r{each}" in command.request_ids}
                report = report_of(command, touched, version="x")
                commands = repairs(board.handle(ShardRepaired(at=NOW, report=report)))
                board.handle(GenerationPublished(at=NOW, number=next(number), manifest_sha256=""))
        assert board.lineages[0].slice_samples == (9, 10, 10, 8, 4)
        assert all(board.lineages[0].checkpoints)
        assert board.is_idle or board.pending_commands()


def test_states_of_an_extended_run_begin_another_run_with_its_stages() -> None:
    """As a branch does that tunes the boundary."""
    board = trained_board(1)
    [command] = begun_alone(board)
    board.handle(repaired(command))
    shape = RunShape(unlearning=UnlearningConfig(), epochs=EPOCHS)
    branch = RevocationBoard.replayed([RunTrained(at=NOW, lineages=board.lineages, workers=1)], shape, workers=1)
    assert branch.epochs == (*EPOCHS, 3)


def begun_alone(board: RevocationBoard) -> list[RepairShard]:
    return repairs(board.handle(extended(1)))
