"""The training settings of a run that exists. Its factories are code, which runs only if it is trusted."""

from dataclasses import replace

from raymu.core.records import FileRef
from raymu.core.trust import CODE
from raymu.service.held_out import held_out_of
from raymu.store.run import RunStore
from raymu.training.base_weights import BaseWeights
from raymu.training.spec import TrainingSpec


def spec_of(store: RunStore, *, added_epochs: tuple[int, ...] = ()) -> TrainingSpec:
    """Return the settings that a run's training depends on. Raises RunUntrusted if they name code that is not trusted.

    Args:
        store: The run.
        added_epochs: Those of the lineages, if stages are trained: epochs of the slices that were added to the run.
    """
    store.require_trusted(*CODE)
    manifest = store.manifest
    spec = TrainingSpec.of(
        store.config,
        input_shape=manifest.input_shape,
        classes=manifest.classes,
        takes_integers=manifest.has_integer_inputs,
        columns=manifest.columns,
        column_kinds=manifest.column_kinds,
        inputs=manifest.inputs,
    )
    if manifest.base is not None:
        spec = spec.on_base(_base(store, manifest.base))
    return replace(spec.extended(added_epochs), held_out=held_out_of(store))


_bases: dict[str, BaseWeights] = {}  # SHA-256 -> the last one that was read: all shards of a process share it


def _base(store: RunStore, ref: FileRef) -> BaseWeights:
    """Read a run's base weights. Raises FileMissing, FileCorrupt."""
    payload = store.files.read_checked(ref)
    if ref.sha256 not in _bases:
        base = BaseWeights.read(payload, source=store.files.display_path(ref.path))
        _bases.clear()
        _bases[ref.sha256] = base
    return _bases[ref.sha256]
