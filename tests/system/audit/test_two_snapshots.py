"""The audit with two snapshots: deletions in memory are those of a run, and what it measures, refuses and leaves alone."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import raymu
from raymu.config import Config
from raymu.core.partition import identity_hashes
from raymu.core.records import Remedy, SampleId
from raymu.data.tables import read_training_table
from raymu.errors import RequestInvalid
from raymu.service.audit.snapshot_answers import ServedVotes, after_repair, answers_of
from raymu.service.audit.snapshot_report import SnapshotReport, SnapshotScope
from raymu.service.audit.snapshot_shards import observed_shard, patch_of
from raymu.service.audit.snapshot_votes import votes_after
from raymu.service.audit.two_snapshots import audit_two_snapshots
from raymu.service.prediction import Ensemble
from raymu.service.shard.files import read_shard_samples
from raymu.store.codec import to_tree
from raymu.store.run import RunStore
from tests.support.coordinated_run import ids_at
from tests.support.examples import make_config, write_samples

SCOPE = SnapshotScope(changes=8, at_least=4)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained run, and its samples."""
    folder = tmp_path_factory.mktemp("snapshots")
    write_samples(folder / "all.parquet", text_ids=True)
    raymu.train(config_of(folder), folder / "run").close()
    shutil.copytree(folder / "run", folder / "before")
    return folder


def config_of(folder: Path, **unlearning: object) -> Config:
    return make_config(folder / "all.parquet", unlearning=unlearning)


@pytest.fixture(scope="module")
def measured(folder: Path) -> tuple[SnapshotReport, list[tuple[int, int]], list[str]]:
    """The report of an audit, the counts of its progress, and its phases."""
    counts: list[tuple[int, int]] = []
    phases: list[str] = []
    report = audit_two_snapshots(
        RunStore(str(folder / "run")),
        SCOPE,
        progress=lambda done, total: counts.append((done, total)),
        phase=phases.append,
    )
    return report, counts, phases


@pytest.fixture
def location(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder / "run", tmp_path / "run"))


def files(location: Path) -> dict[str, bytes]:
    """Return the files of a run, except those that SQLite's readers create."""
    paths = [path for path in location.rglob("*") if path.is_file() and not path.name.endswith(("-shm", "-wal"))]
    return {str(path.relative_to(location)): path.read_bytes() for path in paths}


def hash_of(config: Config, sample_id: SampleId) -> np.ndarray:
    return identity_hashes([sample_id], seed=config.partition.seed, purpose="sample")


@pytest.mark.parametrize(("strategy", "shard"), [("sisa", 0), ("sisa", 1), ("dpus", 0)])
def test_a_deletion_in_memory_gives_the_answers_of_the_run_that_carries_it_out(
    folder: Path, location: Path, strategy: str, shard: int
) -> None:
    config = config_of(folder)
    forgotten = ids_at(config, shard=shard)[5]
    store = RunStore(str(location))
    generation, rows = store.current(), read_training_table(config.data.train, config.data).samples.features
    observed = [observed_shard(store, generation, number, rows) for number in range(2)]
    served = {}
    for each, constituent in zip(observed, generation.constituents, strict=True):
        assert constituent.checkpoint is not None
        served[each.lineage.shard] = ServedVotes(constituent=constituent, votes=each.votes(constituent.checkpoint.file))
    shape, aggregation = (len(rows), 3), config.unlearning.aggregation
    before = answers_of(generation, served, aggregation=aggregation, shape=shape)
    expected = Ensemble(store, generation).predict_marked(rows)
    np.testing.assert_array_equal(before.outputs, expected.outputs)
    np.testing.assert_array_equal(before.certain, expected.certain)

    of_shard = observed[shard]
    slices = of_shard.samples.slices[of_shard.samples.isin(hash_of(config, forgotten))]
    remedy = Remedy.RETRAIN if strategy == "sisa" else patch_of(store, generation, of_shard, slices)
    repaired = votes_after(of_shard, hash_of(config, forgotten), remedy)
    assert repaired.is_patched == (strategy == "dpus")
    changed = {**served, shard: after_repair(served[shard], repaired)}
    after = answers_of(generation, changed, aggregation=aggregation, shape=shape)
    with raymu.open_run(location) as run:
        run.revoke([forgotten], strategy=strategy)
    store = RunStore(str(location))
    expected = Ensemble(store, store.current()).predict_marked(rows)
    assert not np.array_equal(before.outputs, after.outputs)
    np.testing.assert_array_equal(after.outputs, expected.outputs)
    np.testing.assert_array_equal(after.certain, expected.certain)


def test_every_kind_of_change_is_measured_beside_a_control_in_which_no_answer_changes(
    measured: tuple[SnapshotReport, list[tuple[int, int]], list[str]],
) -> None:
    report, counts, phases = measured
    assert [(row.group, row.name) for row in report.rows] == [
        *((1, name) for name in ("untouched", "accepted", "retrained", "patched")),
        *((4, name) for name in ("untouched", "retrained", "patched")),
    ]
    for row in report.rows:
        assert row.name != "untouched" or row.changed_classes == 0.0
        for attack in (row.answers, row.labels_only):
            figures = attack.figures
            assert 0.0 <= figures.auc.low <= figures.auc.value <= figures.auc.high <= 1.0
            assert figures.named.value <= 1 / row.group
    assert report.remedies == (Remedy.PATCH,)
    assert report.not_patched == 0
    assert counts[0][0] == 0
    assert counts[-1][0] == counts[-1][1] == len(counts) - 1
    assert phases[0] == "reading the samples"
    assert "shard 1: patching" in phases


def test_it_writes_nothing_and_names_nobody(
    folder: Path, measured: tuple[SnapshotReport, list[tuple[int, int]], list[str]]
) -> None:
    location = folder / "run"
    assert files(location) == files(folder / "before")
    text = json.dumps(to_tree(measured[0]))
    assert "sample-" not in text
    store = RunStore(str(location))
    for lineage in store.current().lineages:
        hashes = read_shard_samples(store, lineage.table).hashes.tolist()
        assert not [number for number in hashes if str(number) in text]


def test_the_settings_of_a_run_choose_what_is_measured(folder: Path, tmp_path: Path) -> None:
    config = config_of(folder, strategy="sisa", on_accept="abstain", publish={"at_least": 3})
    with raymu.train(config, tmp_path / "run") as run:
        report = audit_two_snapshots(RunStore(run.location), SnapshotScope(changes=8))
        assert [(row.group, row.name) for row in report.rows] == [
            *((1, name) for name in ("untouched", "accepted", "retrained")),
            *((3, name) for name in ("untouched", "retrained")),
        ]
        assert report.row("accepted", 1).changed_classes >= report.row("retrained", 1).changed_classes
        with pytest.raises(KeyError):
            report.row("patched", 1)
        run.revoke(ids_at(config, shard=0)[:1])
        with pytest.raises(RequestInvalid, match=r"shard 0 waits .* `raymu settle --publish` first"):
            audit_two_snapshots(RunStore(run.location), SnapshotScope(changes=8))


@pytest.mark.parametrize(
    ("scope", "problem"),
    [
        (SnapshotScope(changes=7), "7 changes: give an even number, 8 or more"),
        (SnapshotScope(changes=6), "6 changes: give an even number, 8 or more"),
        (SnapshotScope(at_least=0), "a group of 0 deletions: give 1 or more"),
        (SnapshotScope(at_least=1000), r"a group of 1000 deletions needs more samples .* --at-least \d+ is the most"),
    ],
)
def test_a_scope_that_does_not_fit_is_refused(folder: Path, scope: SnapshotScope, problem: str) -> None:
    with pytest.raises(RequestInvalid, match=problem):
        audit_two_snapshots(RunStore(str(folder / "run")), scope)


@pytest.mark.parametrize("left", [0, 2])
def test_a_run_with_hardly_a_sample_left_is_refused(folder: Path, location: Path, left: int) -> None:
    config = config_of(folder)
    ids = [*ids_at(config, shard=0), *ids_at(config, shard=1)]
    with raymu.open_run(location) as run:
        run.revoke(ids[left:], strategy="sisa")
    with pytest.raises(RequestInvalid, match="too few samples left"):
        audit_two_snapshots(RunStore(str(location)), SnapshotScope(changes=8, at_least=1))
