"""Audits: their reports, their requirements and refusals."""

import asyncio
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from raymu.core.verdict import Verdict
from raymu.errors import ConfigInvalid, DataInvalid, RaymuError, RequestInvalid
from raymu.service.audit.audit import LEVEL, audit
from raymu.service.audit.forget_set import AuditScope, find_forgotten
from raymu.service.audit.report import AuditReport
from raymu.service.audit.shard_models import TWINS
from raymu.service.pseudonyms import identity_text, pseudonym
from raymu.store.codec import to_tree
from raymu.store.run import RunStore
from tests.support.coordinated_run import ids_at, opened
from tests.support.examples import create_run, revoke, train_run
from tests.support.scripted_fleet import ScriptedFleet
from tests.system.audit.examples import Trainer, letter_config, write_letters


class AuditedRun:
    """A run with two requests: an exact one in shard 0, and a patch in both shards."""

    def __init__(self, folder: Path) -> None:
        write_letters(folder, text_ids=True)
        self.folder, self.location = folder, folder / "run"
        self.config = letter_config(folder)
        run = train_run(self.config, self.location)
        of_shard = [ids_at(self.config, shard=shard) for shard in (0, 1)]
        self.exact_ids, self.patched_ids = of_shard[0][:3], of_shard[0][3:6] + of_shard[1][:4]
        self.exact = revoke(run, self.exact_ids, strategy="sisa").request_id
        self.patched = revoke(run, self.patched_ids, strategy="dpus").request_id
        asyncio.run(run.close())
        self.trainer = Trainer()

    def audit(self, **scope: object) -> AuditReport:
        audit_scope = AuditScope(**{"shadow_models": 4, "repetitions": 0, **scope})  # type: ignore[arg-type]
        return audit(RunStore(str(self.location)), audit_scope, run_tasks=self.trainer)

    def data_without(self, name: str, *ids: object) -> str:
        table = pq.read_table(self.folder / "train.parquet")
        kept = table.filter(pc.invert(pc.is_in(table["id"], value_set=pa.array(ids))))
        pq.write_table(kept, self.folder / name)
        return str(self.folder / name)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> AuditedRun:
    return AuditedRun(tmp_path_factory.mktemp("audit"))


def files(location: Path) -> dict[str, bytes]:
    """Return the files of a run, except those that SQLite's readers create."""
    files = {str(path.relative_to(location)): path for path in location.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in files.items() if not name.endswith(("-shm", "-wal"))}


def keys_of(tree: Any) -> Iterator[str]:
    """Yield the keys of nested JSON objects."""
    if isinstance(tree, dict):
        yield from tree
    for below in tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ():
        yield from keys_of(below)


def test_all_requests_are_audited_together_and_each_by_itself(run: AuditedRun) -> None:
    before = files(run.location)
    report = run.audit()
    assert files(run.location) == before
    assert [request.request_ids for request in report.requests] == [
        (request_id,) for request_id in sorted([run.exact, run.patched])
    ]
    assert report.together.request_ids == tuple(sorted([run.exact, run.patched]))
    assert (report.together.samples, report.together.shards) == (10, (0, 1))
    by_id = {request.request_ids[0]: request for request in report.requests}
    assert (by_id[run.exact].samples, by_id[run.exact].shards) == (3, (0,))
    assert (by_id[run.patched].samples, by_id[run.patched].shards) == (7, (0, 1))
    assert by_id[run.exact].comparison.served.level == LEVEL / 2
    assert report.passes > 0.0


def test_the_models_of_all_shards_are_requested_at_once(run: AuditedRun) -> None:
    done: list[tuple[int, int]] = []
    trainer = Trainer()
    store = RunStore(str(run.location))
    scope = AuditScope(shadow_models=4, repetitions=0)
    phases: list[str] = []
    audit(
        store,
        scope,
        run_tasks=trainer,
        progress=lambda count, total: done.append((count, total)),
        phase=phases.append,
    )
    models = 2 * (1 + 1 + TWINS + 4)
    assert trainer.batches == [models]
    assert done == [(number, models) for number in range(models + 1)]
    of_shard = ("remedies", "oracles", "shadow models", "attacks")
    assert phases == [
        "reading the samples",
        *(f"shard {shard}: {part}" for shard in (0, 1) for part in of_shard),
        "comparing",
    ]


def test_a_report_is_json_and_names_no_sample(run: AuditedRun) -> None:
    report = run.audit()
    text = json.dumps(to_tree(report))
    assert "sample-" not in text
    assert "row" not in set(keys_of(to_tree(report)))
    key = RunStore(str(run.location)).keys.hash_key
    forgotten = {pseudonym(identity_text("id", sample_id), key) for sample_id in (*run.exact_ids, *run.patched_ids)}
    assert {worst.keyed_hash for worst in report.together.worst} <= forgotten


def test_figures_are_given_with_those_of_the_oracle_and_the_control(run: AuditedRun) -> None:
    report = run.audit(request_ids=(run.patched,))
    assert report.accuracy.test is not None
    for accuracy in (report.accuracy.retain, report.accuracy.test):
        assert min(accuracy.served, accuracy.oracle, accuracy.control) > 0.7
    loss = report.together.loss
    assert loss.control < loss.oracle
    attacks = {attack.attack: attack for attack in report.together.attacks}
    assert list(attacks) == ["loss", "lira_offline", "lira_online", "rmia", "two_generations"]
    for attack in attacks.values():
        assert attack.auc.served.low <= attack.auc.served.value <= attack.auc.served.high
        assert attack.tpr_at_1_percent is attack.tpr_at_0_1_percent is None  # some 700 non-members
    exposed = {attack.attack: attack.auc.served.value for attack in report.exposure}
    assert exposed["lira_online"] > exposed["loss"] - 0.02 > 0.5
    assert report.together.epsilon.highest <= report.together.epsilon.ceiling


def test_some_samples_of_a_request_can_be_audited_alone(run: AuditedRun) -> None:
    report = run.audit(ids=tuple(run.patched_ids[:2]))
    assert (report.together.samples, report.together.request_ids) == (2, (run.patched,))


def test_the_file_may_have_only_the_forgotten_samples(run: AuditedRun) -> None:
    table = pq.read_table(run.folder / "train.parquet")
    forgotten = table.filter(pc.is_in(table["id"], value_set=pa.array([*run.exact_ids, *run.patched_ids])))
    pq.write_table(forgotten, run.folder / "forgotten.parquet")
    alone = run.audit(data=str(run.folder / "forgotten.parquet"))
    assert alone.together.comparison == run.audit().together.comparison


def test_a_file_without_some_of_the_samples_is_refused(run: AuditedRun) -> None:
    lacking = run.data_without("lacking.parquet", *run.patched_ids[:2])
    with pytest.raises(DataInvalid, match=rf"lacks samples of request {run.patched}.*\(5 of 7\).*--training-data"):
        run.audit(data=lacking)
    assert run.audit(data=lacking, request_ids=(run.exact,)).together.samples == 3
    with pytest.raises(DataInvalid, match=r"cannot be read.*rows that the run destroyed.*--training-data"):
        run.audit(data=str(run.folder / "gone.parquet"))


def test_a_file_of_other_features_is_refused(run: AuditedRun) -> None:
    table = pq.read_table(run.folder / "train.parquet")
    wide = pa.FixedSizeListArray.from_arrays(pa.array(np.zeros(table.num_rows * 3, dtype=np.uint8)), 3)
    floats = pa.FixedSizeListArray.from_arrays(
        table["features"].combine_chunks().flatten().cast(pa.float32()), table["features"].type.list_size
    )
    for name, features, words in (("wide", wide, "shape"), ("floats", floats, "float32")):
        path = run.folder / f"{name}.parquet"
        pq.write_table(table.set_column(table.schema.get_field_index("features"), "features", features), path)
        with pytest.raises(DataInvalid, match=words):
            run.audit(data=str(path))


@pytest.mark.parametrize(
    ("scope", "words"),
    [
        ({"shadow_models": 3}, "even number"),
        ({"shadow_models": 2}, "even number"),
        ({"repetitions": 1}, "1 repetitions: give 3 or more"),
        ({"repetitions": -1}, "give 3 or more"),
        ({"request_ids": ("r-unknown",)}, "has no request r-unknown"),
        ({"ids": ("sample-1", "nobody")}, "2 of the given samples are not revoked"),
    ],
)
def test_what_cannot_be_audited_is_refused_in_one_line(run: AuditedRun, scope: dict[str, object], words: str) -> None:
    with pytest.raises(RaymuError, match=words) as refusal:
        run.audit(**scope)
    assert "\n" not in str(refusal.value)


def test_without_a_request_there_is_nothing_to_audit(run: AuditedRun, tmp_path: Path) -> None:
    create_run(run.config, tmp_path / "run")
    with pytest.raises(RequestInvalid, match="nothing was revoked"):
        audit(RunStore(str(tmp_path / "run")), AuditScope())


def test_a_request_that_is_not_repaired_is_not_audited(run: AuditedRun, tmp_path: Path) -> None:
    create_run(run.config, tmp_path / "run")
    ids = ids_at(run.config, shard=0)[:1]
    with (
        opened(tmp_path / "run", ScriptedFleet(RunStore(str(tmp_path / "run")), fail_after=0)) as opened_run,
        pytest.raises(RaymuError, match="could not be repaired"),
    ):
        opened_run.revoke(ids, strategy="sisa")
    with pytest.raises(RequestInvalid, match="not repaired yet"):
        audit(RunStore(str(tmp_path / "run")), AuditScope())


def test_a_shard_that_is_waiting_for_a_repair_is_not_audited(run: AuditedRun, tmp_path: Path) -> None:
    shutil.copytree(run.location, tmp_path / "run")
    ids = ids_at(run.config, shard=0)[10:11]
    with (
        opened(tmp_path / "run", ScriptedFleet(RunStore(str(tmp_path / "run")), fail_after=0)) as opened_run,
        pytest.raises(RaymuError, match="could not be repaired"),
    ):
        opened_run.revoke(ids, strategy="sisa")
    with pytest.raises(RequestInvalid, match=r"shard 0 is (rewound|abstaining).*raymu settle"):
        audit(RunStore(str(tmp_path / "run")), AuditScope(request_ids=(run.exact,)))


def test_by_default_all_repaired_requests_are_audited(run: AuditedRun, tmp_path: Path) -> None:
    shutil.copytree(run.location, tmp_path / "run")
    store = RunStore(str(tmp_path / "run"))
    ids = ids_at(run.config, shard=1)[10:11]
    with opened(tmp_path / "run", ScriptedFleet(store, fail_after=0)) as opened_run, pytest.raises(RaymuError):
        opened_run.revoke(ids, strategy="sisa")
    forgotten = find_forgotten(store, AuditScope())
    assert {*forgotten.request_ids.tolist()} == {run.exact, run.patched}


def test_a_run_of_one_shard_is_audited_with_its_test_set(run: AuditedRun, tmp_path: Path) -> None:
    config = letter_config(run.folder, shards=1)
    coordinator = train_run(config, tmp_path / "run")
    revoke(coordinator, ids_at(config)[:5], strategy="sisa")
    asyncio.run(coordinator.close())
    report = audit(RunStore(str(tmp_path / "run")), AuditScope(shadow_models=4, repetitions=3))
    assert report.verdict is Verdict.PASS
    with pytest.raises(DataInvalid, match="cannot be read"):
        audit(RunStore(str(tmp_path / "run")), AuditScope(shadow_models=4, test=str(tmp_path / "none.parquet")))


def test_a_run_of_one_shard_without_a_test_set_is_refused(run: AuditedRun, tmp_path: Path) -> None:
    tree = letter_config(run.folder, shards=1).tree()
    config = type(run.config).parse({**tree, "data": {**tree["data"], "test": None}})
    coordinator = train_run(config, tmp_path / "run")
    revoke(coordinator, ids_at(config)[:1], strategy="sisa")
    asyncio.run(coordinator.close())
    with pytest.raises(ConfigInvalid, match="--test"):
        audit(RunStore(str(tmp_path / "run")), AuditScope(shadow_models=4))
