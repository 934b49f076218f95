"""Whatever is changed in a run, verification does not pass, and nothing that was changed is loaded."""

import asyncio
import random
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from raymu.core.verdict import Verdict
from raymu.errors import RaymuError, RunInvalid
from raymu.learn.data import read_features
from raymu.learn.samples import ShardSamples
from raymu.learn.train import ShardTraining
from raymu.service.coordinator import Coordinator
from raymu.service.prediction import Ensemble
from raymu.service.samples import read_shard_samples
from raymu.service.verify.verification import verify
from raymu.store.run import RunStore
from tests.examples import make_config, revoke, silent, train_run, write_samples
from tests.unit.service.runs import ids_at, lineage_of

FLIPS = 100


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was trained, and that one request was served on."""
    folder = tmp_path_factory.mktemp("sound")
    write_samples(folder / "all.parquet", samples=80)
    config = make_config(folder / "all.parquet")
    run = train_run(config, folder / "run")
    shutil.copytree(folder / "run" / "shards", folder / "tainted")
    revoke(run, ids_at(config, shard=0)[:1], strategy="sisa")
    asyncio.run(run.close())
    assert verdict(folder / "run") is Verdict.PASS
    return folder / "run"


@pytest.fixture
def location(sound: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sound, tmp_path / "run"))


def verdict(location: Path, **asked: object) -> Verdict:
    return verify(RunStore(str(location)), silent, **asked).verdict  # type: ignore[arg-type]


def predictions(location: Path) -> np.ndarray:
    store = RunStore(str(location))
    features = read_features(store.config.data.train, store.config.data).features
    return Ensemble.current(store).predict(features)


def flip(payload: bytes, chance: random.Random) -> bytes:
    position = chance.randrange(len(payload))
    changed = payload[position] ^ (1 << chance.randrange(8))
    return payload[:position] + bytes([changed]) + payload[position + 1 :]


def cut(payload: bytes, chance: random.Random) -> bytes:
    return payload[: chance.randrange(len(payload))]


def kinds(location: Path) -> dict[str, list[Path]]:
    """The files of a run by what they are; a reader's index of an empty write-ahead log is made anew by each reader."""
    found: dict[str, list[Path]] = {}
    for path in sorted(location.rglob("*")):
        if path.is_file() and not path.name.startswith("journal.sqlite-"):
            found.setdefault(str(path.relative_to(location)).partition("/")[0], []).append(path)
    return found


@pytest.mark.parametrize("damage", [flip, cut])
def test_every_flipped_bit_and_every_cut_is_found_and_never_loaded(
    location: Path, damage: Callable[[bytes, random.Random], bytes]
) -> None:
    chance = random.Random(5)
    expected = predictions(location)
    by_kind = list(kinds(location).values())
    for number in range(FLIPS):
        path = chance.choice(by_kind[number % len(by_kind)])
        payload = path.read_bytes()
        path.write_bytes(damage(payload, chance))
        what = f"{damage.__name__} {number} of {path.name}"
        assert verdict(location) is Verdict.FAIL, what
        with suppress(RaymuError):
            assert np.array_equal(predictions(location), expected), what
        path.write_bytes(payload)
    assert verdict(location) is Verdict.PASS


def test_every_file_is_missed(location: Path) -> None:
    for kind, paths in kinds(location).items():
        payload = paths[0].read_bytes()
        paths[0].unlink()
        if kind == "run.json":
            with pytest.raises(RunInvalid, match="not a run"):
                verdict(location)
        else:
            assert verdict(location) is Verdict.FAIL, kind
        paths[0].write_bytes(payload)


def test_a_tainted_checkpoint_that_is_put_back_is_found_under_any_name(location: Path, sound: Path) -> None:
    tainted = sorted((sound.parent / "tainted").rglob("*.safetensors"))
    purged = next(path for path in tainted if not list(location.rglob(path.name)))
    for place in (location / "shards" / "0000" / purged.name, location / "notes.txt"):
        shutil.copy(purged, place)
        assert verdict(location) is Verdict.FAIL
        place.unlink()


def test_two_files_that_are_swapped_are_found(location: Path) -> None:
    first, second = sorted((location / "shards" / "0001").iterdir())[:2]
    payload = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(payload)
    assert verdict(location) is Verdict.FAIL


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM events WHERE sequence = (SELECT MAX(sequence) FROM events)",
        "DELETE FROM revoked",
        "DELETE FROM ledger",
        "UPDATE ledger SET request_id = 'another'",
        "UPDATE events SET payload = replace(payload, 'sisa', 'dpus') WHERE kind = 'accepted'",
        "UPDATE runs SET epoch = epoch + 1",
        "INSERT INTO forget SELECT run, request_id, 0, '17' FROM ledger",
    ],
)
def test_a_journal_that_is_changed_with_sql_is_found(location: Path, statement: str) -> None:
    with closing(sqlite3.connect(location / "journal.sqlite")) as connection:
        assert connection.execute(statement).rowcount > 0
        connection.commit()
    assert verdict(location) is Verdict.FAIL


def test_a_thread_count_that_is_changed_is_found(location: Path) -> None:
    text = (location / "run.json").read_text()
    (location / "run.json").write_text(text.replace('"threads":1', '"threads":2'))
    assert verdict(location, replay=[0, 1]) is Verdict.FAIL


def test_training_with_another_thread_count_cannot_be_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_samples(tmp_path / "all.parquet", samples=80)
    run = train_run(make_config(tmp_path / "all.parquet"), tmp_path / "run")
    asyncio.run(run.close())
    config = RunStore(str(tmp_path / "run")).config
    others = replace(config, cluster=replace(config.cluster, threads=2))
    monkeypatch.setattr(RunStore, "config", others)
    found = verify(RunStore(str(tmp_path / "run")), silent, replay=[0, 1])
    assert found.verdict is Verdict.INCONCLUSIVE
    assert "threads 1" in found.checks[-1].findings[0].what


@pytest.fixture
def course(tmp_path: Path) -> Coordinator:
    write_samples(tmp_path / "all.parquet", samples=80)
    return train_run(make_config(tmp_path / "all.parquet"), tmp_path / "run")


def revoke_one(run: Coordinator, tmp_path: Path) -> None:
    revoke(run, ids_at(RunStore(str(tmp_path / "run")).config, shard=0)[:1], strategy="sisa")
    asyncio.run(run.close())


def test_a_row_left_in_is_found(course: Coordinator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raymu.service.shard.write_without", lambda _store, _shard, ref, _forget: ref)
    revoke_one(course, tmp_path)
    assert verdict(tmp_path / "run") is Verdict.FAIL


def test_a_worker_that_forgets_nothing_and_says_so_nowhere_is_found(
    course: Coordinator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It trains on, and keeps, what is revoked, and its records are in keeping with that."""
    monkeypatch.setattr(ShardSamples, "held_in", lambda self, _hashes: np.zeros(len(self), dtype=bool))
    monkeypatch.setattr("raymu.service.shard.write_without", lambda _store, _shard, ref, _forget: ref)
    revoke_one(course, tmp_path)
    assert verdict(tmp_path / "run") is Verdict.FAIL


def test_a_worker_that_trains_on_what_it_says_it_forgot_is_found_by_the_replay(
    course: Coordinator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every record is as it should be, but the weights are those of a training with the sample."""
    everything = read_shard_samples(RunStore(str(tmp_path / "run")), lineage_of(tmp_path / "run", 0).table)
    train_stage = ShardTraining.train_stage

    def on_everything(training: ShardTraining, _samples: ShardSamples, *stage: Any) -> int:
        return train_stage(training, everything, *stage)

    with monkeypatch.context() as patch:
        patch.setattr(ShardTraining, "train_stage", on_everything)
        revoke_one(course, tmp_path)
    assert verdict(tmp_path / "run") is Verdict.PASS  # the records alone cannot tell
    assert verdict(tmp_path / "run", replay=[0]) is Verdict.FAIL
