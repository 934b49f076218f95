"""Until a run is trained, its board awaits the training of every shard."""

from raymu.config import UnlearningConfig
from raymu.core.board.board import RevocationBoard
from raymu.core.commands import PublishGeneration, TrainShard
from raymu.core.events import WorkResumed
from raymu.core.run_shape import RunShape
from tests.unit.core.examples import EPOCHS, NOW, lineage, table, training

TABLES = tuple(table(shard, samples=30) for shard in range(3))
SHAPE = RunShape(unlearning=UnlearningConfig(), epochs=EPOCHS)


def test_a_run_without_events_awaits_the_training_of_every_shard() -> None:
    board = RevocationBoard(SHAPE, workers=2, tables=TABLES)
    expected = [TrainShard(shard=shard, table=table) for shard, table in enumerate(TABLES)]
    assert board.pending_commands() == expected
    assert list(board.awaited) == expected
    assert board.tables == TABLES
    assert not board.is_idle
    assert board.handle(WorkResumed(at=NOW)) == []
    assert len({command.command_id for command in expected}) == len(expected)


def test_a_trained_run_awaits_no_training_and_publishes_its_first_generation() -> None:
    board = RevocationBoard(SHAPE, workers=2, tables=TABLES)
    trained, published = training(3)
    [command] = board.handle(trained)
    assert isinstance(command, PublishGeneration)
    assert command.cause == "train"
    assert board.pending_commands() == [command]
    board.handle(published)
    assert (board.awaited, board.is_idle) == ((), True)
    assert board.tables == tuple(lineage(shard).table for shard in range(3))
