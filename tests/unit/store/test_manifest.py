import hashlib
import hmac
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from raymu.errors import FileCorrupt, RunFormatTooNew, RunInvalid
from raymu.store.codec import canonical_json, to_json
from raymu.store.creation import create_run
from raymu.store.manifest import FORMAT
from raymu.store.run import RunStore
from tests.support.manifests import MANIFEST


def manifest_with(place: Path, **changes: object) -> RunStore:
    tree: dict[str, Any] = json.loads(to_json(MANIFEST)) | changes
    place.mkdir()
    (place / "run.json").write_text(json.dumps(tree))
    return RunStore(str(place))


@pytest.mark.parametrize("location", ["", "no such directory"])
def test_a_directory_without_a_manifest_is_not_a_run(tmp_path: Path, location: str) -> None:
    with pytest.raises(RunInvalid, match=r"is not a run: it has no run\.json"):
        _ = RunStore(str(tmp_path / location)).manifest


def test_a_manifest_of_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunInvalid, match="something else"):
        _ = manifest_with(tmp_path / "run", kind="a training run of another tool").manifest


def test_a_run_of_a_newer_format_asks_for_an_update(tmp_path: Path) -> None:
    with pytest.raises(RunInvalid, match=rf"newer raymu \(format {FORMAT + 1}\); update raymu"):
        _ = manifest_with(tmp_path / "run", format=FORMAT + 1, input_shape="told in another way").manifest


def test_a_format_that_was_changed_is_damage_and_not_a_newer_run(tmp_path: Path) -> None:
    store = RunStore(str(tmp_path / "run"))
    create_run(store, MANIFEST)
    file = tmp_path / "run" / "run.json"
    newer = json.loads(file.read_bytes()) | {"format": FORMAT + 1}
    file.write_bytes(canonical_json(newer))
    with pytest.raises(FileCorrupt, match="its seal is broken"):
        _ = RunStore(store.location).manifest
    del newer["seal"]
    file.write_bytes(seal_of_newer(newer, store.keys.hash_key))
    with pytest.raises(RunFormatTooNew):
        _ = RunStore(store.location).manifest


def seal_of_newer(tree: dict[str, Any], key: bytes) -> bytes:
    """Return a manifest as a newer version writes it: sealed as today."""
    digest = hmac.new(key, b"seal\n" + canonical_json(tree), hashlib.sha256).hexdigest()
    return canonical_json(tree | {"seal": digest})


@pytest.mark.parametrize("run_id", ["../../victim", "a/b", "", "a\nb"])
def test_an_id_that_leads_to_other_files_is_refused(tmp_path: Path, run_id: str) -> None:
    """The anchors that a user keeps of a run lie in a file of its id, and the run may be somebody else's."""
    store = RunStore(str(tmp_path / "run"))
    create_run(store, replace(MANIFEST, run_id=run_id))
    with pytest.raises(FileCorrupt, match="run_id"):
        _ = RunStore(store.location).manifest


@pytest.mark.parametrize("content", ["", "{", "[]", '{"kind": "raymu run"}', '{"kind": "raymu run", "format": "x"}'])
def test_a_damaged_manifest_is_named(store: RunStore, content: str) -> None:
    store.files.write("run.json", content.encode())
    with pytest.raises((FileCorrupt, RunInvalid), match=r"run.*run\.json"):
        _ = RunStore(store.location).manifest


def test_a_manifest_whose_settings_were_changed_is_refused(store: RunStore) -> None:
    tree = json.loads(store.files.read("run.json"))
    store.files.write("run.json", json.dumps(tree | {"classes": 11}).encode())
    with pytest.raises(FileCorrupt, match=r"run/run\.json: .*its seal is broken"):
        _ = RunStore(store.location).manifest
