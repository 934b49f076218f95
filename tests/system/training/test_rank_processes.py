"""Ranks in several processes train to the same bits as ranks that one process simulates."""

from collections.abc import Iterator, Mapping

import pytest
import torch

from raymu.errors import RankLost, TrainingFailed
from raymu.training.checkpoint_format import deserialize
from raymu.training.stages import StageResult, train_stages
from tests.support.rank_processes import RankProcesses, rank_processes
from tests.support.shard_training import SLICES, STATEFUL, Settings, stages_for


def tensors_of(stage: StageResult) -> dict[str, torch.Tensor]:
    return deserialize(stage.checkpoint, source="a checkpoint")


CASES: Mapping[str, tuple[int, Settings, int]] = {
    "two ranks, batch norm, dropout, Adam": (2, STATEFUL, 50),
    "three ranks, groups, uneven parts": (
        3,
        {"unlearning": {"contributions": "group", "groups_per_slice": 4}, "training": {"weight_decay": 0.01}},
        47,
    ),
    "three ranks, batches of two": (3, {"training": {"batch_size": 2, "momentum": 0.9}}, 19),
    "buffers of its own": (
        2,
        {"model": {"factory": "tests.support.shard_training:Counting", "args": {"in_features": 4, "out_features": 3}}},
        50,
    ),
}


@pytest.fixture(scope="module")
def processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RankProcesses]:
    with rank_processes(3, tmp_path_factory.mktemp("rank_processes")) as processes:
        yield processes


@pytest.mark.parametrize(("workers", "settings", "samples"), CASES.values(), ids=CASES)
def test_ranks_in_processes_have_the_bits_of_simulated_ranks(
    workers: int, settings: Settings, samples: int, processes: RankProcesses
) -> None:
    stages = stages_for(workers, settings, samples=samples)
    played = list(train_stages(stages))
    assert [stage.stage for stage in played] == list(range(SLICES))
    first, *others = processes.train(stages)
    assert isinstance(first, list)
    for ours, theirs in zip(played, first, strict=True):
        assert (ours.checkpoint, ours.updates) == (theirs.checkpoint, theirs.updates)
        assert ours.determinism == theirs.determinism
    for other in others:  # the same weights, and no updates; buffers are a rank's own until the next epoch
        assert isinstance(other, list)
        mine, its = tensors_of(played[-1]), tensors_of(other[-1])
        assert all(torch.equal(mine[name], its[name]) for name in mine if name.endswith((".weight", ".bias")))
        assert other[-1].updates is None


def test_ranks_in_processes_resume_from_a_checkpoint(processes: RankProcesses) -> None:
    stages = stages_for(2, STATEFUL)
    before, *rest = list(train_stages(stages))
    results, _ = processes.train(stages.after(before))
    assert isinstance(results, list)
    assert [result.checkpoint for result in results] == [result.checkpoint for result in rest]


def test_a_lost_rank_is_distinguished_from_a_failed_model(processes: RankProcesses) -> None:
    """This test comes last, because it ends one of the processes."""
    failing = stages_for(3, {"training": {"learning_rate": 1e25}})
    assert [type(error) for error in processes.train(failing)] == [TrainingFailed] * 3
    assert [type(error) for error in processes.train(stages_for(3, {}), lost=2)] == [RankLost] * 2
