"""A shard that cannot be repaired is given up: its samples are revoked, it abstains, and waiting requests are carried out."""

import pytest

from raymu.api import open_run
from raymu.cli import run_command
from raymu.core.records import Exactness, ShardState
from raymu.errors import RequestInvalid, ShardRepairFailed, TrainingFailed
from raymu.training.batches import BatchPlan
from raymu.training.trainer import ShardTrainer
from tests.support.trained_runs import TrainedRunFactory


def test_a_shard_whose_model_fails_is_given_up_with_all_of_its_samples(
    trained_run: TrainedRunFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = trained_run()

    def fail(_trainer: ShardTrainer, *_args: object, **_settings: object) -> BatchPlan:
        raise TrainingFailed(0, 1, "ValueError: too few samples")

    monkeypatch.setattr(ShardTrainer, "batches", fail)
    with open_run(run.location) as opened:
        with pytest.raises(ShardRepairFailed, match="or, if that fails too, `raymu settle --drop-shard 0`"):
            opened.revoke(run.ids(shard=0)[:2], strategy="sisa")
        with pytest.raises(ShardRepairFailed):
            opened.settle()
        with pytest.raises(RequestInvalid, match="no shard 2; it has 2, from 0"):
            opened.drop_shard(2)
    assert run_command(["settle", str(run.location), "--drop-shard", "0"]) == (0, "")
    with open_run(run.location) as opened:
        assert [receipt.exactness for receipt in opened.receipts()] == [Exactness.EXACT] * 2
        assert [shard.state for shard in opened.status().shards] == [ShardState.ABSTAINING, ShardState.EXACT]
        assert opened.status().shards[0].samples == 0
        assert all(check.findings == () for check in opened.verify().checks if check.name != "older copies")
        with pytest.raises(RequestInvalid, match="shard 0 has no samples left"):
            opened.drop_shard(0)
