"""Forged runs whose records, seals and signatures are consistent: none of them passes."""

import asyncio
import gzip
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import safetensors.torch
import torch

from raymu.core.events import Event, RequestsPurged, ShardRepaired
from raymu.core.records import CheckpointRef
from raymu.core.verdict import Verdict
from raymu.service.shard.messages import no_progress
from raymu.service.verify.verify import Verification, verify
from raymu.store.run import RunStore
from raymu.training.checkpoint_format import serialize, weights_sha256
from raymu.training.checkpoint_metadata import read_metadata
from tests.support.coordinated_run import ids_at, lineage_of, opened
from tests.support.examples import make_config, train_run, write_samples
from tests.system.verify.forgery import execute, forge, replacing, reseal


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `before`, a trained run, and `run`, its copy in which one sample of slice 1 was revoked exactly."""
    folder = tmp_path_factory.mktemp("forgeries")
    write_samples(folder / "all.parquet", samples=80)
    run = train_run(make_config(folder / "all.parquet", training={"momentum": 0.9}), folder / "run")
    asyncio.run(run.close())
    shutil.copytree(folder / "run", folder / "before")
    revoke_one(folder / "run")
    return folder


@pytest.fixture
def location(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder / "run", tmp_path / "run"))


@pytest.fixture
def before(folder: Path, tmp_path: Path) -> Path:
    """The run before the request."""
    return Path(shutil.copytree(folder / "before", tmp_path / "before"))


def revoke_one(location: Path, strategy: str = "sisa", number: int = 0) -> None:
    config = RunStore(str(location)).config
    with opened(location) as run:
        run.revoke(ids_at(config, shard=0, slice_index=1)[number : number + 1], strategy=strategy)


def verified(location: Path, *, is_replayed: bool = False, anchor: str | None = None) -> Verification:
    return verify(RunStore(str(location)), no_progress, replay=[0, 1] if is_replayed else (), anchor=anchor)


def with_a_flipped_bit(location: Path, checkpoint: CheckpointRef, prefix: str) -> CheckpointRef:
    """Write a checkpoint with one flipped bit in the first tensor with a prefix, as a worker would."""
    store = RunStore(str(location))
    payload = store.files.read_checked(checkpoint.file)
    tensors = safetensors.torch.load(payload)
    name = min(name for name in tensors if name.startswith(prefix))
    tensors[name].view(torch.uint8).reshape(-1)[0] ^= 1
    file = store.write_state(0, f"stage-{checkpoint.stage}", serialize(tensors, read_metadata(payload)))
    predictive = {name: tensor for name, tensor in tensors.items() if not name.startswith("optimizer.")}
    return replace(checkpoint, file=file, weights_sha256=weights_sha256(predictive))


def put_in_place(location: Path, checkpoint: CheckpointRef, other: CheckpointRef) -> None:
    """Make every record refer to the other file."""
    words = {
        checkpoint.file.path: other.file.path,
        checkpoint.file.sha256: other.file.sha256,
        checkpoint.weights_sha256: other.weights_sha256,
    }
    forge(location, replacing(words))
    RunStore(str(location)).files.delete(checkpoint.file.path)


def restored(location: Path, before: Path, stage: int) -> CheckpointRef:
    """Restore a tainted checkpoint, with a record that it descends from retained samples."""
    tainted, sound = (lineage_of(folder, 0).checkpoints[stage] for folder in (before, location))
    assert tainted
    assert sound
    shutil.copy(before / tainted.file.path, location / tainted.file.path)
    return replace(tainted, descent=sound.descent)


def test_a_forgery_that_changes_nothing_passes(location: Path) -> None:
    forge(location, lambda events: events)
    assert verified(location, is_replayed=True).verdict is Verdict.PASS


@pytest.mark.parametrize("stage", range(3))
@pytest.mark.parametrize("prefix", ["model.", "normalizer.", "optimizer."])
def test_one_flipped_bit_of_a_checkpoint_is_found_by_the_replay(location: Path, prefix: str, stage: int) -> None:
    checkpoint = lineage_of(location, 0).checkpoints[stage]
    assert checkpoint
    put_in_place(location, checkpoint, with_a_flipped_bit(location, checkpoint, prefix))
    assert verified(location).verdict is Verdict.PASS  # the records alone do not show it
    assert verified(location, is_replayed=True).verdict is Verdict.FAIL


def test_weights_under_a_forged_hash_are_found_by_the_replay(location: Path) -> None:
    forge(location, replacing({lineage_of(location, 0).serving.weights_sha256: "0" * 64}))
    assert verified(location, is_replayed=True).verdict is Verdict.FAIL


@pytest.mark.parametrize("stage", [1, 2])
def test_a_tainted_checkpoint_in_the_place_of_a_sound_one_is_found(location: Path, before: Path, stage: int) -> None:
    sound = lineage_of(location, 0).checkpoints[stage]
    assert sound
    put_in_place(location, sound, restored(location, before, stage))
    assert verified(location).verdict is not Verdict.PASS
    assert verified(location, is_replayed=True).verdict is Verdict.FAIL


def test_a_tainted_checkpoint_that_is_served_with_sound_ones_is_found(location: Path, before: Path) -> None:
    tainted = restored(location, before, 2)

    def serve(events: list[Event]) -> list[Event]:
        return [
            replace(event, report=replace(event.report, lineage=replace(event.report.lineage, serving=tainted)))
            if isinstance(event, ShardRepaired)
            else event
            for event in events
        ]

    forge(location, serve)
    assert lineage_of(location, 0).serving == tainted
    assert verified(location).verdict is Verdict.FAIL


PLACES = ["samples/.hidden", "shards/0000/stage-9.safetensors", "generations/old.json", "reports/old.json", "notes.txt"]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("pack_up", [bytes, gzip.compress], ids=["as it was", "packed"])
def test_a_purged_file_is_found_under_any_name(
    location: Path, before: Path, place: str, pack_up: Callable[[bytes], bytes]
) -> None:
    purged = lineage_of(before, 0).serving.file
    (location / place).parent.mkdir(exist_ok=True)
    (location / place).write_bytes(pack_up((before / purged.path).read_bytes()))
    assert verified(location).verdict is Verdict.FAIL


def without_last(kind: type[Event]) -> Callable[[list[Event]], list[Event]]:
    """Return a change of the journal: it ends before the last event of a kind."""

    def cut(events: list[Event]) -> list[Event]:
        return events[: max(number for number, event in enumerate(events) if isinstance(event, kind))]

    return cut


@pytest.mark.parametrize("kind", [RequestsPurged, ShardRepaired])
def test_a_journal_that_ends_earlier_is_found(location: Path, kind: type[Event]) -> None:
    forge(location, without_last(kind))
    assert verified(location).verdict is not Verdict.PASS


def test_a_run_that_was_rolled_back_whole_is_found_by_the_anchor(location: Path, before: Path) -> None:
    anchor = verified(location).anchor
    assert verified(before).verdict is Verdict.PASS  # nothing in the run shows it
    assert verified(before, anchor=anchor).verdict is Verdict.FAIL


STATEMENTS: Mapping[str, str] = {
    "a receipt is removed": "DELETE FROM ledger",
    "a receipt is another's": "UPDATE ledger SET request_id = 'another'",
    "a keyed hash is removed": "DELETE FROM revoked WHERE identity_hash = (SELECT MIN(identity_hash) FROM revoked)",
    "raw ids of a purged request are back": "INSERT INTO forget SELECT run, request_id, 0, '1007' FROM ledger",
    "raw ids of no request are there": "INSERT INTO forget SELECT run, 'notes', 0, '1007' FROM ledger",
}


@pytest.mark.parametrize("case", STATEMENTS)
def test_a_journal_that_is_changed_and_sealed_again_is_found(location: Path, case: str) -> None:
    execute(location, STATEMENTS[case])
    reseal(location)
    assert verified(location).verdict is Verdict.FAIL
