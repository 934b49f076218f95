"""A model that refuses batches of some sizes: an accepted request is carried out, whatever number of samples is left."""

import asyncio
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from raymu.core.records import Exactness
from raymu.core.verdict import Verdict
from raymu.service.shard.messages import no_progress
from raymu.service.verify.verify import verify
from raymu.store.run import RunStore
from tests.support.coordinated_run import ids_at
from tests.support.examples import make_config, revoke, train_run, write_samples

SIZE = 16


class GhostNorm(nn.Module):
    """Batch norm over virtual batches of at most `SIZE` samples."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(width)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.norm(part) for part in x.split(SIZE)]) if self.training else self.norm(x)


def ghost_model() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 8), GhostNorm(8), nn.ReLU(), nn.Linear(8, 3))


def model_without_statistics() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8, track_running_stats=False), nn.ReLU(), nn.Linear(8, 3))


@pytest.mark.parametrize("factory", ["ghost_model", "model_without_statistics"])
@pytest.mark.parametrize("strategy", ["sisa", "dpus"])
def test_every_number_of_samples_that_is_left_can_be_repaired(tmp_path: Path, factory: str, strategy: str) -> None:
    write_samples(tmp_path / "all.parquet", samples=100)
    config = make_config(
        tmp_path / "all.parquet",
        model={"factory": f"{__name__}:{factory}"},
        training={"epochs": 2, "batch_size": 32},
        partition={"shards": 2, "slices": 2},
    )
    run = train_run(config, tmp_path / "run")
    for sample_id in ids_at(config, shard=0)[:18]:
        receipt = revoke(run, [sample_id], strategy=strategy)
        assert receipt.purged_at
        if strategy == "sisa":
            assert receipt.exactness is Exactness.EXACT
    if strategy == "sisa":
        asyncio.run(run.close())
        assert verify(RunStore(str(tmp_path / "run")), no_progress, replay=range(2)).verdict is Verdict.PASS
