"""The manifest `run.json`: what a run is, fixed when it is created."""

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from itertools import chain
from typing import Any, Literal
from uuid import uuid4

from raymu.config import Config
from raymu.core.code_record import CodeRecord
from raymu.core.input_spec import InputSpec
from raymu.core.records import FileRef
from raymu.data.classes import ClassTable
from raymu.data.sample_form import SampleForm
from raymu.errors import FileCorrupt, FileMissing, RaymuError, RunFormatTooNew, RunInvalid
from raymu.store.codec import has_seal, parse_json, unseal
from raymu.store.files.run_files import RunFiles
from raymu.store.keys import HASH_KEY, RunKeys
from raymu.store.layout import MANIFEST

FORMAT = 1
_RUN_ID = re.compile(r"[0-9A-Za-z_-]{1,64}")


@dataclass(frozen=True, kw_only=True)  # without slots, so that what follows from it is computed once
class RunManifest:
    """The settings of a run, and facts that were derived from its data."""

    config: Mapping[str, Any]
    """All settings as plain JSON values."""
    input_shape: tuple[int, ...]
    """Shape of one sample's features."""
    classes: int
    """Number of classes."""
    has_integer_ids: bool
    """True for integer sample ids, False for strings."""
    has_batch_norm: bool = False
    """True if the model has batch-norm buffers, which a patch has to recompute."""
    has_integer_inputs: bool = False
    """True if the model takes features as int64, and not as floats."""
    class_names: tuple[int | bool | str, ...] | None = None
    """The label of each class; None if labels are the numbers from 0 to classes - 1."""
    conversions: tuple[str, ...] = ()
    """What was converted when the training file was read, as lines for people."""
    columns: tuple[str, ...] | None = None
    """The columns that the run keeps of its samples as they are; None if it keeps one array of each."""
    column_kinds: Mapping[str, str] = field(default_factory=dict)
    """The kind of each of these columns, for a task that asks for it."""
    inputs: Mapping[str, InputSpec] = field(default_factory=dict)
    """The parts of one sample's inputs to the model, if they are not an array of `input_shape`."""
    base: FileRef | None = None
    """The weights that all shards begin with; None if each shard's model begins with new ones."""
    created_at: datetime
    raymu_version: str
    run_id: str = field(default_factory=lambda: uuid4().hex)
    """Name of the run in a database that holds several."""
    tables: tuple[FileRef, ...] = ()
    """Each shard's samples when the run was created."""
    indexes: tuple[FileRef | None, ...] = ()
    """The index of each of these tables; empty in a run of an earlier version."""
    routes: tuple[FileRef, ...] | None = None
    """Routes to samples and owners whose shards nothing else says; None if the run has none, and all indexes are read."""
    routed_extensions: int = 0
    """Number of extensions to whose samples `routes` leads too, since they were made again."""
    held_out: FileRef | None = None
    """The run's own copy of the samples that every shard is validated on; None without `validation`."""
    public_key: str | None = None
    """The key of the receipts, hex, as in signing.pub. None in a run of version 0.1 that was not written since."""
    inexact: tuple[str, ...] = ()
    """Why the bits of this run's training cannot be repeated, one line each. Only a run that was trained all the same has
    any, and everything about it is inconclusive."""
    code: CodeRecord | None = None
    """The factories' code when the run was created. None without factories, and in a run of version 0.1."""
    format: int = FORMAT
    kind: Literal["raymu run"] = field(default="raymu run")

    def routes_with(self, added: Sequence[tuple[FileRef, ...] | None]) -> tuple[FileRef, ...] | None:
        """Return the routes of all samples that the run has now; None unless all of them have routes.

        Args:
            added: The routes of each extension, from the journal.
        """
        later = added[self.routed_extensions :]
        if self.routes is None or None in later:
            return None
        return (*self.routes, *chain.from_iterable(refs or () for refs in later))

    @property
    def class_table(self) -> ClassTable:
        """The classes that the run tells apart."""
        return ClassTable(count=self.classes, names=self.class_names)

    @cached_property
    def form(self) -> SampleForm:
        """The form that samples are read in."""
        task = Config.parse(self.config).task
        return SampleForm(columns=self.columns, target=task.target, tabular=task.tabular, kinds=self.column_kinds)


def read_manifest(files: RunFiles, keys: RunKeys) -> RunManifest:
    """Read the manifest of a run.

    Raises:
        RunInvalid: There is no run, or one of a newer format.
        FileCorrupt: The manifest is not what was written.
    """

    def try_key() -> None:
        """Read the key beside the manifest, which it checks. What is wrong with it is said when it is needed."""
        with suppress(RaymuError):
            _ = keys.hash_key

    try:
        payload, _ = files.together(lambda: files.read(MANIFEST), try_key)
    except FileMissing:
        raise RunInvalid(
            files.display_location, "is not a run: it has no run.json; name a directory made by `raymu train`"
        ) from None
    source = files.display_path(MANIFEST)
    tree = _tree(payload, source)
    if tree.get("kind") != "raymu run" and files.exists(HASH_KEY):  # of a run, whose manifest was changed
        raise FileCorrupt(source, "not the manifest that was written: it is of another kind")
    if tree.get("kind") != "raymu run":
        raise RunInvalid(files.display_location, "is not a run of raymu: its run.json belongs to something else")
    version = tree.get("format")
    if isinstance(version, int) and version > FORMAT:
        if files.exists(HASH_KEY) and not has_seal(tree, keys.hash_key):
            raise FileCorrupt(
                source, f"not the manifest that was written: its format is {version}, and its seal is broken"
            )
        raise RunFormatTooNew(files.display_location, f"was written by a newer raymu (format {version}); update raymu")
    manifest: RunManifest = unseal(RunManifest, payload, keys.hash_key, source=source)
    if not _RUN_ID.fullmatch(manifest.run_id):  # it becomes a part of the names of files outside of the run
        raise FileCorrupt(source, "its run_id is no name that raymu gives to a run")
    return manifest


def _tree(payload: bytes, source: str) -> dict[str, object]:
    tree = parse_json(payload, source=source)
    return tree if isinstance(tree, dict) else {}
