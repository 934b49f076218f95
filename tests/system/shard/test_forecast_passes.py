"""The passes of repairs that really patch are those that the table of remedies forecasts."""

from pathlib import Path
from typing import Any

import pytest

from raymu.core.records import Remedy
from tests.support.coordinated_run import samples_by_fit
from tests.support.examples import make_config, revoke, train_run, write_samples


@pytest.mark.parametrize("has_batch_norm", [False, True], ids=["without batch norm", "with batch norm"])
@pytest.mark.parametrize(
    ("strategy", "remedy", "tolerance"),
    [
        ("sisa", Remedy.RETRAIN, 0.0),
        ("dpus", Remedy.PATCH, 0.05),
        ("ohs", Remedy.FINE_TUNE, 1.5),  # a model that fits so closely is patched a second time after fine-tuning
    ],
)
def test_the_passes_of_a_repair_are_near_their_forecast(
    tmp_path: Path, strategy: str, remedy: Remedy, tolerance: float, has_batch_norm: bool
) -> None:
    """The forget set is what the shard fits best, so that a patch has something to do."""
    unlearning: dict[str, Any] = {
        "contributions": "curvature",
        "boundary": 0.0,
        "ohs": {"remedy": "fine_tune", "epochs": 1},
    }
    write_samples(tmp_path / "all.parquet")
    config = make_config(
        tmp_path / "all.parquet",
        model={"name": "mlp", "hidden": [8], "batch_norm": has_batch_norm},
        training={"epochs": 12, "learning_rate": 0.2},
        partition={"shards": 3},
        unlearning=unlearning,
    )
    run = train_run(config, tmp_path / "run")
    ids = samples_by_fit(config, tmp_path / "run")[-10:]
    [part] = revoke(run, ids, strategy=strategy).shards
    assert part.remedy is remedy
    assert part.passes == pytest.approx(part.forecast_passes, rel=tolerance, abs=0.5)
