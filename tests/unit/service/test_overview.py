"""How forecasts hold, as status and plan show it."""

from pathlib import Path

import pytest

from raymu.core.records import Remedy
from raymu.service.overview import plan, status
from raymu.service.requests import Revocation
from raymu.store.run import RunStore
from tests.examples import make_config, revoke, train_run, write_samples
from tests.unit.service.runs import ids_at, lineage_of


def test_status_sets_forecasts_against_what_remedies_took(tmp_path: Path) -> None:
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
    assert retrained.low < retrained.seconds / retrained.forecast_seconds < retrained.high


def test_a_forecast_carries_the_interval_of_the_remedy_that_it_plans(tmp_path: Path) -> None:
    write_samples(tmp_path / "all.parquet")
    config = make_config(tmp_path / "all.parquet")
    run, store = train_run(config, tmp_path / "run"), RunStore(str(tmp_path / "run"))
    late = ids_at(config, shard=0, slice_index=2)
    [before] = plan(store, Revocation(ids=(late[0],), strategy="sisa")).shards
    assert before.interval.low_s < before.retrain_seconds < before.interval.high_s
    assert before.interval.expected_s == pytest.approx(before.retrain_seconds)
    [part] = revoke(run, [late[0]], strategy="sisa").shards
    [after] = plan(store, Revocation(ids=(late[1],), strategy="sisa")).shards
    is_slower = part.seconds > part.forecast_seconds
    assert (after.interval.expected_s > after.retrain_seconds) == is_slower


def test_a_shards_speed_is_learned_from_each_retraining(tmp_path: Path) -> None:
    write_samples(tmp_path / "all.parquet")
    config = make_config(tmp_path / "all.parquet")
    run = train_run(config, tmp_path / "run")
    before = lineage_of(tmp_path / "run", 0)
    [part] = revoke(run, ids_at(config, shard=0, slice_index=2)[:1], strategy="sisa").shards
    after = lineage_of(tmp_path / "run", 0)
    measured = part.seconds / part.passes
    low, high = sorted((before.seconds_per_pass, measured))
    assert low < after.seconds_per_pass < high
