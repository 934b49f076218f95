"""The accuracy of forecasts in the status."""

from dataclasses import fields
from pathlib import Path

import pytest

from raymu.core.records import Remedy
from raymu.service.audit.report import WorstSample
from raymu.service.shard.messages import ShardLocation
from raymu.service.status import status
from raymu.store.run import RunStore
from tests.support.coordinated_run import ids_at
from tests.support.examples import make_config, revoke, train_run, write_samples


def test_status_compares_forecasts_with_the_actual_costs(tmp_path: Path) -> None:
    write_samples(tmp_path / "all.parquet")
    config = make_config(tmp_path / "all.parquet")
    run, store = train_run(config, tmp_path / "run"), RunStore(str(tmp_path / "run"))
    assert status(store).paces == {}
    late, early = ids_at(config, shard=0, slice_index=2), ids_at(config, shard=1, slice_index=0)
    parts = [revoke(run, [late[place]], strategy="sisa").shards[0] for place in range(3)]
    parts.append(revoke(run, early[:2], strategy="dpus").shards[0])
    paces = status(store).paces
    assert set(paces) == {Remedy.RETRAIN, Remedy.PATCH}
    retrained = paces[Remedy.RETRAIN]
    assert retrained.remedies == 3
    assert retrained.seconds == pytest.approx(sum(part.seconds for part in parts[:3]))
    assert retrained.forecast_seconds == pytest.approx(sum(part.forecast_seconds for part in parts[:3]))
    assert retrained.low < 1.0 < retrained.high, "what is known of the bias is in the forecast already"
    assert 0 <= retrained.within <= 3


def test_records_of_json_documents_keep_the_names_of_version_0_1() -> None:
    assert [field.name for field in fields(ShardLocation)] == [
        "node",
        "node_id",
        "device",
        "gpus",
        "workers",
        "is_at_work",
    ]
    assert {field.name for field in fields(WorstSample)} == {
        "shard",
        "keyed_hash",
        "loss",
        "likelihood",
        "epsilon",
    }
