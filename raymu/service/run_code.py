"""Whether a run's training can be repeated here: by what the run says, and by the code of its factories."""

from raymu.errors import ConfigInvalid
from raymu.service.run_spec import spec_of
from raymu.store.run import RunStore
from raymu.training.code_record import record_code
from raymu.training.probe import noise_samples, probe_training
from raymu.training.spec import TrainingSpec

_probed: dict[str, tuple[str, ...]] = {}


def code_changes(store: RunStore) -> tuple[str, ...]:
    """Name what the run's factories consist of here and now that is not as it was when the run was trained.

    Raises RunUntrusted if the run's code is not trusted.
    """
    before = store.manifest.code
    if before is None:
        return ()
    try:
        now = record_code(spec_of(store))
    except ConfigInvalid:  # whatever needs the code says so itself
        return ()
    return before.differences(now) if now else ()


def _unproven(run_id: str, spec: TrainingSpec) -> tuple[str, ...]:
    """Probe the training of a run that version 0.1 created, which did not: once in a process, on samples of noise."""
    if run_id not in _probed:
        _probed[run_id] = probe_training(spec, noise_samples(spec))
    return _probed[run_id]


def inexact_reasons(store: RunStore) -> tuple[str, ...]:
    """Say why the result of a training here and now is inconclusive, one line each; empty if it can be exact."""
    if store.manifest.code is None:
        return (*store.manifest.inexact, *_unproven(store.manifest.run_id, spec_of(store)))
    changes = code_changes(store)
    changed = (f"the run's code is not as it was when the run was trained: {', '.join(changes)}",) if changes else ()
    return (*store.manifest.inexact, *changed)
