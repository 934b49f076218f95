"""The document of an export, export.json: which generation of which run it is, and whether the run still serves that."""

import hashlib
import json
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from raymu.core.events import GenerationPublished, RevocationsAccepted
from raymu.core.records import Generation
from raymu.errors import FileMissing, FileUnreadable, RequestInvalid
from raymu.input_file import read_input
from raymu.service.served import served_generation
from raymu.store.codec import parse_json
from raymu.store.run import RunStore
from raymu.store.signed_document import SIGNATURE, is_signed_by, signed
from raymu.text import one_line

DOCUMENT = "export.json"
SCHEMA, VERSION = "raymu.export", 1


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportCheck:
    """The comparison of an export with its run."""

    generation: int
    """The exported generation."""
    served: int
    """The generation that the run serves now."""
    is_current: bool
    """Whether the run serves exactly what was exported."""
    is_signed: bool
    """Whether the run's key signed the document. Without a signature anyone can have written it."""

    def __str__(self) -> str:
        """Say it in one line."""
        signature = "" if self.is_signed else "; its document is not signed, so that anyone can have written it"
        if self.is_current:
            return f"generation {self.generation} is the current one{signature}"
        return (
            f"generation {self.generation} is superseded: the run serves generation {self.served}, so that samples which "
            f"were revoked since may be in the export; replace it by a new one and destroy it{signature}"
        )


def write_document(
    store: RunStore, generation: Generation, facts: dict[str, Any], folder: Path, formats: Sequence[str]
) -> dict[str, Any]:
    """Write export.json into the folder of an export, signed if the signing key can be read.

    Args:
        store: The run.
        generation: What was exported.
        facts: What the exported module takes and returns.
        folder: The folder, which has all other files.
        formats: The formats that were written.
    """
    with closing(store.journal(is_read_only=True)) as journal:
        events = list(journal.events())
        receipts = [row.sha256 for row in journal.receipt_rows()]
    published = {event.number: event.manifest_sha256 for event in events if isinstance(event, GenerationPublished)}
    accepted = [event for event in events if isinstance(event, RevocationsAccepted)]
    requests = [request for event in accepted for request in event.requests]
    try:
        store.require_bound_key()
        signing_key, public_key = store.keys.signing_key, store.keys.public_key.hex()
    except (FileMissing, FileUnreadable):  # who may read the run may lack its key
        signing_key, public_key = None, None
    number = generation.number
    tree = {
        "schema": SCHEMA,
        "version": VERSION,
        "run": store.manifest.run_id,
        "generation": number,
        "manifest_sha256": published.get(number, ""),
        "constituents": _constituents(generation),
        "formats": list(formats),
        "files": [_file(path) for path in sorted(folder.iterdir())],
        **facts,
        "receipts": receipts,
        "revoked": {"requests": len(requests), "samples": sum(request.samples for request in requests)},
        "exported_at": datetime.now(UTC).isoformat().replace("+00:00", "Z"),
        "raymu_version": version("raymu"),
        "public_key": public_key,
        "notice": (
            f"This is generation {number} of run {store.manifest.run_id}. When a later revocation supersedes it, it must "
            "be replaced and destroyed: `raymu export RUN --check FOLDER` tells. The purge of a run does not reach exports."
        ),
    }
    document = signed(tree, signing_key) if signing_key else {**tree, SIGNATURE: None}
    (folder / DOCUMENT).write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    return document


def check_export(store: RunStore, folder: Path) -> ExportCheck:
    """Compare an export with what its run serves now.

    Raises:
        RequestInvalid: It is no export of this run, or was changed since it was written.
        RaymuError: What reading the run raises.
    """
    document = read_document(folder)
    if document["run"] != store.manifest.run_id:
        raise RequestInvalid(
            f"{folder}: is an export of run {one_line(document['run'])}, and this is run {store.manifest.run_id}; "
            "name the run that it was made from"
        )
    is_signed = document.get(SIGNATURE) is not None
    if is_signed:
        store.require_bound_key()
        if not is_signed_by(document, store.keys.public_key):
            raise RequestInvalid(f"{folder}: its {DOCUMENT} was changed; run `raymu export` again")
    for file in document["files"]:
        _require_unchanged(folder, file)
    generation = served_generation(store)
    is_current = document["generation"] == generation.number and document["constituents"] == _constituents(generation)
    return ExportCheck(
        generation=document["generation"], served=generation.number, is_current=is_current, is_signed=is_signed
    )


def read_document(folder: Path) -> dict[str, Any]:
    """Read the document of an export. Raises RequestInvalid if the folder has none that this version can read."""
    path = folder / DOCUMENT
    try:
        tree = parse_json(read_input(path), source=str(path))
    except Exception as error:  # missing, unreadable, or no JSON
        problem = getattr(error, "strerror", None) or one_line(error)
        raise RequestInvalid(f"{folder}: is no export: its {DOCUMENT} cannot be read ({problem})") from error
    if not isinstance(tree, dict) or tree.get("schema") != SCHEMA:
        raise RequestInvalid(f"{folder}: is no export; name a folder that `raymu export` wrote")
    if tree.get("version") != VERSION:
        raise RequestInvalid(f"{folder}: was written by a newer raymu; update raymu")
    has_all = isinstance(tree.get("generation"), int) and isinstance(tree.get("files"), list)
    if not (has_all and isinstance(tree.get("run"), str) and isinstance(tree.get("constituents"), list)):
        raise RequestInvalid(f"{folder}: its {DOCUMENT} was changed; run `raymu export` again")
    return tree


def _constituents(generation: Generation) -> list[dict[str, Any]]:
    """Return what each shard serves: its state, and the hash of its weights, which is null if it abstains."""
    return [
        {
            "shard": constituent.shard,
            "state": str(constituent.state),
            "weights_sha256": constituent.checkpoint.weights_sha256 if constituent.checkpoint else None,
        }
        for constituent in generation.constituents
    ]


def _file(path: Path) -> dict[str, Any]:
    payload = path.read_bytes()
    return {"path": path.name, "sha256": hashlib.sha256(payload).hexdigest(), "byte_size": len(payload)}


def _require_unchanged(folder: Path, file: Any) -> None:
    """Raise RequestInvalid if a file of an export is missing, or is not what was written."""
    name = Path(str(file.get("path", "") if isinstance(file, dict) else "")).name
    try:
        is_same = bool(name) and _file(folder / name) == file
    except OSError as error:
        raise RequestInvalid(f"{folder}: {name} cannot be read ({error.strerror}); run `raymu export` again") from error
    if not is_same:
        raise RequestInvalid(f"{folder}: {one_line(name)} is not what was written; run `raymu export` again")
