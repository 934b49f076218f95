"""Whoever was revoked in one run of a registry comes back in none: not by an old file, nor by a restored backup."""

import json
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

import raymu
from raymu.cli import run_command
from raymu.core.verdict import Verdict
from raymu.errors import ConfigInvalid, DataInvalid, RunInvalid, StorageFailed
from raymu.store.creation import branch_run
from raymu.store.journal.journal import Journal
from raymu.store.run import RunStore
from tests.support.examples import make_config, write_samples

SAMPLE, OWNER = 1000, "owner-3"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_samples(tmp_path / "all.parquet", samples=160, owners=8)
    return tmp_path


def config(folder: Path, **registry: Any) -> raymu.Config:
    return make_config(
        folder / "all.parquet",
        data={"owner": "owner"},
        training={"epochs": 2},
        partition={"slices": 2},
        registry={"url": f"sqlite:///{folder / 'registry.sqlite'}", **registry},
    )


def held(location: Path) -> set[Any]:
    store = RunStore(str(location))
    tables = [lineage.table for lineage in store.current().lineages]
    return {sample_id for ref in tables for sample_id in store.samples.read_table(ref)["id"].to_pylist()}


def revoked_of(folder: Path) -> set[Any]:
    rows = pq.read_table(folder / "all.parquet").to_pylist()
    return {row["id"] for row in rows if row["owner"] == OWNER} | {SAMPLE}


def test_nobody_comes_back_from_the_old_file(folder: Path) -> None:
    with raymu.train(config(folder), folder / "first") as run:
        run.revoke([SAMPLE], strategy="sisa")
        run.revoke(owner=OWNER, strategy="sisa")
    names = (folder / "registry.sqlite").read_bytes()
    assert OWNER.encode() not in names
    with raymu.train(config(folder), folder / "second") as run:
        assert run.training.left_out == len(revoked_of(folder))
        assert run.verify(replay=None).verdict is Verdict.PASS
    assert not held(folder / "second") & revoked_of(folder)
    with pytest.raises(DataInvalid, match=f"has {len(revoked_of(folder))} samples that the registry has as revoked"):
        raymu.train(config(folder, when_revoked="refuse"), folder / "third")
    assert not (folder / "third").exists()
    with raymu.train(config(folder, namespace="other ids"), folder / "fourth") as run:
        assert run.training.left_out == 0


def test_an_extension_brings_nobody_back(folder: Path) -> None:
    table = pq.read_table(folder / "all.parquet")
    pq.write_table(table.slice(0, 40), folder / "more.parquet")
    pq.write_table(table.slice(40), folder / "rest.parquet")
    with raymu.train(config(folder), folder / "first") as run:
        run.revoke([SAMPLE], strategy="sisa")
    for name, when_revoked in (("second", "leave_out"), ("third", "refuse")):
        with raymu.train(config(folder, when_revoked=when_revoked), folder / "rest.parquet", folder / name) as run:
            if when_revoked == "refuse":
                with pytest.raises(DataInvalid, match="has 1 sample that the registry has as revoked"):
                    run.extend(folder / "more.parquet")
            else:
                assert run.extend(folder / "more.parquet").left_out == 1
    assert SAMPLE not in held(folder / "second")


def test_another_spelling_of_a_revoked_sample_is_left_out(folder: Path) -> None:
    table = pq.read_table(folder / "all.parquet")
    digits = [f"{number:032x}" for number in range(table.num_rows)]
    as_uuids = [f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}" for text in digits]
    for name, ids in (("all.parquet", digits), ("others.parquet", as_uuids)):
        pq.write_table(table.set_column(0, "id", [ids]), folder / name)
    with raymu.train(config(folder), folder / "first") as run:
        run.revoke(digits[5:7], strategy="sisa")
    with raymu.train(config(folder), folder / "others.parquet", folder / "second") as run:
        assert run.training.left_out == 2


def test_a_restored_backup_revokes_again_before_it_predicts(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    features = np.zeros((2, 6), dtype=np.float32)
    with raymu.train(config(folder), folder / "run") as run:
        run.revoke([1007], strategy="sisa")
    shutil.copytree(folder / "run", folder / "backup")
    with raymu.open_run(folder / "run") as run:
        run.revoke([SAMPLE], strategy="sisa")
        run.revoke(owner=OWNER, strategy="sisa")
    shutil.rmtree(folder / "run")
    (folder / "backup").rename(folder / "run")
    monkeypatch.setenv("RAYMU_ANCHORS", str(folder / "another machine"))  # where no anchor of the run is known
    with raymu.open_run(folder / "run") as run:
        assert held(folder / "run") & revoked_of(folder)
        for read in (lambda: run.predict(features), lambda: run.sign(folder / "run.sig")):
            with pytest.raises(RunInvalid, match=r"lacks 2 requests that the registry has.*raymu settle"):
                read()
        run.settle()
        assert len(run.predict(features)) == 2
        assert len(run.receipts()) == 3
        run.settle()
        assert len(run.receipts()) == 3, "nothing is revoked twice"
        assert run.verify(replay=None).verdict is Verdict.PASS
    assert not held(folder / "run") & revoked_of(folder)


def test_a_request_whose_commit_failed_is_carried_out_by_the_next_command(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with raymu.train(config(folder), folder / "run"):
        pass

    def fail(*_: object, **__: object) -> None:
        raise StorageFailed("the journal", "disk full")

    with monkeypatch.context() as patch, raymu.open_run(folder / "run") as run:
        patch.setattr(Journal, "accept", fail)
        with pytest.raises(StorageFailed):
            run.revoke([SAMPLE], strategy="sisa")
    with raymu.open_run(folder / "run") as run:
        run.settle()
        assert len(run.receipts()) == 1
    assert SAMPLE not in held(folder / "run")


def test_nothing_is_accepted_without_the_registry(folder: Path) -> None:
    with raymu.train(config(folder), folder / "run"):
        pass
    (folder / "registry.sqlite").unlink()
    (folder / "registry.sqlite").mkdir()
    with raymu.open_run(folder / "run") as run, pytest.raises(StorageFailed, match="the registry"):
        run.revoke([SAMPLE], strategy="sisa")
    (folder / "registry.sqlite").rmdir()
    assert held(folder / "run") >= {SAMPLE}
    with raymu.open_run(folder / "run") as run:
        assert run.receipts() == []


def test_a_lost_key_is_not_made_anew(folder: Path) -> None:
    with raymu.train(config(folder), folder / "run") as run:
        run.revoke([SAMPLE], strategy="sisa")
    assert (folder / "registry.sqlite.key").stat().st_mode & 0o777 == 0o600
    (folder / "registry.sqlite.key").unlink()
    with pytest.raises(ConfigInvalid, match=r"registry.key_file: .* is not there"):
        raymu.train(config(folder), folder / "second")
    assert not (folder / "second").exists()


def test_trials_of_a_boundary_revoke_nothing_for_others(folder: Path) -> None:
    with raymu.train(config(folder), folder / "run"):
        pass
    store = RunStore(str(folder / "run"))
    branch = branch_run(store, str(folder / "branch"), store.current().lineages, store.config.unlearning)
    assert branch.config.registry is None


def test_the_command_line_counts_who_is_left_out(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = [f"data.train={folder / 'all.parquet'}", "data.owner=owner", "cluster.fleet=local", "model.name=mlp"]
    settings += [f"registry.url=sqlite:///{folder / 'registry.sqlite'}", "partition.shards=2", "training.epochs=3"]
    (folder / "run.yaml").write_text("data: {train: x}\nmodel: {name: mlp}\n")
    for run in ("first", "second"):
        assert run_command(["train", str(folder / "run.yaml"), str(folder / run), *settings, "--json"])[0] == 0
        document = json.loads(capsys.readouterr().out)
        assert document["left_out"] == (0 if run == "first" else 1)
        if run == "first":
            assert run_command(["revoke", str(folder / run), "--id", str(SAMPLE), "--strategy", "sisa"])[0] == 0
            capsys.readouterr()
    with sqlite3.connect(folder / "registry.sqlite") as connection:
        assert connection.execute("select count(*) from revoked_subjects").fetchone() == (1,)
