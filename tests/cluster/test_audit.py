"""An audit on a cluster gives the report of one process."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import ray

from raymu.config import ClusterConfig
from raymu.errors import DeviceUnavailable
from raymu.runtime.audit import audit_runner
from raymu.service.audit.audit import audit
from raymu.service.audit.forget_set import AuditScope
from raymu.service.audit.snapshot_report import SnapshotScope
from raymu.service.audit.two_snapshots import audit_two_snapshots
from raymu.store.codec import to_tree
from raymu.store.run import RunStore
from raymu.training.audit.samples import ModelKind
from raymu.training.audit.shadow_models import AuditTask
from tests.support.coordinated_run import ids_at
from tests.support.examples import make_config, revoke, train_run, write_samples
from tests.unit.training.audit.examples import make_pool

pytestmark = pytest.mark.usefixtures("ray_cluster")


def without_seconds(tree: Any) -> Any:
    """Return a JSON document without the seconds that anything took."""
    if isinstance(tree, dict):
        return {name: without_seconds(value) for name, value in tree.items() if name != "seconds"}
    return [without_seconds(value) for value in tree] if isinstance(tree, list) else tree


def test_tasks_on_ray_give_the_report_of_one_process(tmp_path: Path) -> None:
    write_samples(tmp_path / "all.parquet")
    config = make_config(tmp_path / "all.parquet")
    run = train_run(config, tmp_path / "run")
    revoke(run, ids_at(config, shard=1)[:2], strategy="sisa")
    revoke(run, ids_at(config, shard=0)[:6], strategy="dpus")
    asyncio.run(run.close())
    store, scope = RunStore(str(tmp_path / "run")), AuditScope(shadow_models=4, repetitions=3)
    with audit_runner(ClusterConfig(cpus_per_shard=4)) as run_tasks:
        on_ray = audit(store, scope, run_tasks=run_tasks)
    assert all(request.remedy for request in on_ray.requests)
    assert without_seconds(to_tree(on_ray)) == without_seconds(to_tree(audit(store, scope)))


def test_deletions_on_ray_give_the_measurement_of_one_process(tmp_path: Path) -> None:
    write_samples(tmp_path / "all.parquet", samples=120)
    asyncio.run(train_run(make_config(tmp_path / "all.parquet"), tmp_path / "run").close())
    store, scope = RunStore(str(tmp_path / "run")), SnapshotScope(changes=8, at_least=3)
    with audit_runner(ClusterConfig(cpus_per_shard=4)) as run_tasks:
        on_ray = audit_two_snapshots(store, scope, run_tasks=run_tasks)
    assert without_seconds(to_tree(on_ray)) == without_seconds(to_tree(audit_two_snapshots(store, scope)))


def test_the_error_of_a_task_is_raised_unchanged_and_ends_the_others() -> None:
    """Each task takes all CPUs for seconds, so a later test would wait for all of them."""
    refused, long = replace(make_pool(), device="cuda", shard=1), make_pool(training={"epochs": 600})
    tasks = [AuditTask(samples=pool, kind=ModelKind.ORACLE, number=0) for pool in [refused, *[long] * 30]]
    with audit_runner(ClusterConfig(cpus_per_shard=8)) as run_tasks, pytest.raises(DeviceUnavailable, match="CUDA"):
        list(run_tasks(tasks))
    assert ray.get(ray.remote(num_cpus=8)(lambda: "there is room").remote(), timeout=20)
