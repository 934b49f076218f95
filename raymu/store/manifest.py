"""What a run is, fixed when it is created."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal
from uuid import uuid4

from raymu.core.records import FileRef
from raymu.errors import FileCorrupt, FileMissing, RunFormatTooNew, RunInvalid
from raymu.store.codec import unseal
from raymu.store.files.run_files import RunFiles
from raymu.store.keys import RunKeys
from raymu.store.layout import MANIFEST

FORMAT = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class RunManifest:
    """config: the settings as plain JSON values; tables: each shard's samples as they were when the run was created"""

    config: Mapping[str, Any]
    input_shape: tuple[int, ...]
    classes: int
    has_integer_ids: bool
    has_batch_norm: bool = False
    created_at: datetime
    raymu_version: str
    run_id: str = field(default_factory=lambda: uuid4().hex)
    tables: tuple[FileRef, ...] = ()
    format: int = FORMAT
    kind: Literal["raymu run"] = field(default="raymu run")


def read_manifest(files: RunFiles, keys: RunKeys) -> RunManifest:
    """Raises RunInvalid where no run is, or one of a newer format; FileCorrupt."""
    try:
        payload = files.read(MANIFEST)
    except FileMissing:
        raise RunInvalid(
            files.display_location, "is not a run: it has no run.json; name a directory made by `raymu train`"
        ) from None
    source = files.display_path(MANIFEST)
    found = _tree(payload, source)
    if found.get("kind") != "raymu run":
        raise RunInvalid(files.display_location, "is not a run of raymu: its run.json is of something else")
    written = found.get("format")
    if isinstance(written, int) and written > FORMAT:
        raise RunFormatTooNew(files.display_location, f"was written by a newer raymu (format {written}); update raymu")
    manifest: RunManifest = unseal(RunManifest, payload, keys.hash_key, source=source)
    return manifest


def _tree(payload: bytes, source: str) -> dict[str, object]:
    try:
        tree = json.loads(payload)
    except (ValueError, RecursionError) as error:
        raise FileCorrupt(source, "not the JSON that was written") from error
    return tree if isinstance(tree, dict) else {}
