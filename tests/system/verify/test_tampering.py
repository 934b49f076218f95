"""Changes that an attacker without the keys makes to a run are found, and no changed file is loaded."""

import asyncio
import random
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raymu.core.verdict import LastVerdict, Verdict
from raymu.data.tables import read_features
from raymu.errors import FileCorrupt, RaymuError, RunInvalid
from raymu.service.prediction import Ensemble
from raymu.service.shard.messages import RepairTask, no_progress
from raymu.service.verify.verify import Verification, verify
from raymu.store.layout import KINDS, kind_of
from raymu.store.run import RunStore
from tests.support.coordinated_run import ids_at, opened
from tests.support.examples import create_run, make_config, repaired_weights, write_samples
from tests.support.scripted_fleet import ScriptedFleet
from tests.system.verify.forgery import execute

FLIPS, FLIPS_THAT_ARE_CARRIED_ON = 10, 2
"""Of each kind of file."""
NEVER_AT_REST = {"journal's log", "mark of an unfinished run", "coordinator"}


def stop_with_the_coordinator(_task: RepairTask) -> None:
    """Stop between a worker's report and the journal."""
    raise asyncio.CancelledError


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`retrained`: a run that served one request exactly; `varied`: one in which every kind of file is."""
    folder = tmp_path_factory.mktemp("tampering")
    table = write_samples(folder / "all.parquet", samples=80)
    held_out = table.slice(0, 20).set_column(0, "id", pa.array(range(20)))
    pq.write_table(held_out, folder / "held-out.parquet")
    by_group = {"contributions": "group", "groups_per_slice": 2, "calibration": False}
    for name, unlearning, strategy in (("retrained", {}, "sisa"), ("varied", by_group, "dpus")):
        branches: dict[str, Any] = {"unlearning": unlearning, "data": {"owner": "owner"}}
        if name == "varied":
            branches["validation"] = {"data": str(folder / "held-out.parquet")}
            branches["model"] = {"name": "mlp", "hidden": [4], "trainable": "head"}
        config = make_config(folder / "all.parquet", **branches)
        create_run(config, folder / name)
        shutil.copytree(folder / name / "shards", folder / f"{name}-before")
        with opened(folder / name) as run:
            run.revoke(ids_at(config, shard=0, slice_index=1)[:1], strategy=strategy)
        if name == "varied":
            store = RunStore(str(folder / name))
            at, run_id = datetime.now(UTC), store.manifest.run_id
            store.verdicts.keep(LastVerdict(run=run_id, check="audit", verdict=Verdict.PASS, generation=2, at=at))
    with (
        pytest.raises(asyncio.CancelledError),
        opened(
            folder / "varied", ScriptedFleet(RunStore(str(folder / "varied")), after=stop_with_the_coordinator)
        ) as run,
    ):
        run.revoke(ids_at(config, shard=1, slice_index=1)[:1], strategy="sisa")
    return folder


@pytest.fixture(scope="module")
def undisturbed(folder: Path) -> tuple[np.ndarray, object]:
    """The predictions of `varied`, and the result of continuing it."""
    copy = Path(shutil.copytree(folder / "varied", folder / "settled"))
    return predictions(copy), carried_on(copy)


@pytest.fixture
def retrained(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder / "retrained", tmp_path / "retrained"))


@pytest.fixture
def varied(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder / "varied", tmp_path / "varied"))


def verified(location: Path) -> Verification:
    return verify(RunStore(str(location)), no_progress)


def verdict(location: Path) -> Verdict:
    return verified(location).verdict


def predictions(location: Path) -> np.ndarray:
    store = RunStore(str(location))
    features = read_features(store.config.data.train, store.config.data).features
    return Ensemble.current(store).predict(features)


def carried_on(location: Path) -> tuple[dict[int, str], list[str]]:
    """Settle, which also finishes the interrupted request. Returns all weights, and all names of sample files."""
    with opened(location) as run:
        run.settle()
    return repaired_weights(location), sorted(path.name for path in (location / "samples").iterdir())


def flip(payload: bytes, chance: random.Random) -> bytes:
    position = chance.randrange(len(payload))
    changed = payload[position] ^ (1 << chance.randrange(8))
    return payload[:position] + bytes([changed]) + payload[position + 1 :]


def cut(payload: bytes, chance: random.Random) -> bytes:
    return payload[: chance.randrange(len(payload))]


def by_kind(location: Path) -> Mapping[str, list[Path]]:
    """Return the files of a closed run by kind."""
    paths: dict[str, list[Path]] = {}
    for path in sorted(location.rglob("*")):
        kind = kind_of(str(path.relative_to(location)))
        if path.is_file() and kind not in NEVER_AT_REST:
            paths.setdefault(str(kind), []).append(path)
    return paths


def test_every_kind_of_file_is_tampered_with(varied: Path) -> None:
    assert by_kind(varied).keys() == KINDS.keys() - NEVER_AT_REST
    assert verdict(varied) is Verdict.INCONCLUSIVE


@pytest.mark.parametrize("damage", [flip, cut])
@pytest.mark.parametrize("kind", sorted(KINDS.keys() - NEVER_AT_REST))
def test_every_flipped_bit_and_every_cut_is_found_and_never_loaded(
    varied: Path,
    undisturbed: tuple[np.ndarray, object],
    tmp_path: Path,
    kind: str,
    damage: Callable[[bytes, random.Random], bytes],
) -> None:
    chance = random.Random(kind)
    expected, settled = undisturbed
    for number in range(FLIPS):
        path = chance.choice(by_kind(varied)[kind])
        payload = path.read_bytes()
        path.write_bytes(damage(payload, chance))
        what = f"{damage.__name__} {number} of {path.name}"
        assert verdict(varied) is Verdict.FAIL, what
        with suppress(RaymuError):
            assert np.array_equal(predictions(varied), expected), what
        if number < FLIPS_THAT_ARE_CARRIED_ON:
            with suppress(RaymuError):
                assert carried_on(Path(shutil.copytree(varied, tmp_path / str(number)))) == settled, what
        path.write_bytes(payload)
    assert verdict(varied) is Verdict.INCONCLUSIVE


def test_every_file_is_missed(varied: Path, retrained: Path) -> None:
    """Every file except reports, and files that only reports need, because that work is done again; and last verdicts."""
    needed = {**by_kind(varied), "report": [], "partial report": [], "verdict": [], **by_kind(retrained)}
    for kind, path in ((kind, path) for kind, paths in needed.items() for path in paths[:1]):
        payload = path.read_bytes()
        path.unlink()
        if kind == "manifest":
            with pytest.raises(RunInvalid, match="not a run"):
                verdict(path.parent)
        else:
            location = next(folder for folder in (varied, retrained) if folder in path.parents)
            assert verdict(location) is Verdict.FAIL, kind
        path.write_bytes(payload)


def test_a_tainted_checkpoint_that_is_put_back_is_found_under_any_name(retrained: Path, folder: Path) -> None:
    assert verdict(retrained) is Verdict.PASS
    tainted = sorted((folder / "retrained-before").rglob("*.safetensors"))
    purged = next(path for path in tainted if not list(retrained.rglob(path.name)))
    for place in (retrained / "shards" / "0000" / purged.name, retrained / "notes.txt"):
        shutil.copy(purged, place)
        assert verdict(retrained) is Verdict.FAIL
        place.unlink()


@pytest.mark.parametrize("kind", ["checkpoint", "samples", "key"])
def test_two_files_that_are_swapped_are_found(retrained: Path, kind: str) -> None:
    first, second = by_kind(retrained)[kind][:2]
    payload = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(payload)
    assert verdict(retrained) is Verdict.FAIL


def test_a_log_of_the_journal_that_no_coordinator_wrote_is_noticed(retrained: Path) -> None:
    (retrained / "journal.sqlite-wal").write_bytes(b"the raw ids 1007 and 1014")
    assert verdict(retrained) is Verdict.INCONCLUSIVE


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
def test_a_journal_that_is_changed_with_sql_is_found(retrained: Path, statement: str) -> None:
    execute(retrained, statement)
    assert verdict(retrained) is Verdict.FAIL


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE forget SET sample_ids = 'MQ=='",
        "UPDATE forget SET shard = 0",
        "DELETE FROM forget",
        "DELETE FROM revoked",
    ],
)
def test_raw_ids_that_are_changed_are_never_forgotten_in_the_place_of_others(varied: Path, statement: str) -> None:
    execute(varied, statement)
    assert verdict(varied) is Verdict.FAIL
    with pytest.raises(FileCorrupt, match="journal"):
        carried_on(varied)


def test_a_thread_count_that_is_changed_is_found(retrained: Path) -> None:
    text = (retrained / "run.json").read_text()
    (retrained / "run.json").write_text(text.replace('"threads":1', '"threads":2'))
    assert verdict(retrained) is Verdict.FAIL
