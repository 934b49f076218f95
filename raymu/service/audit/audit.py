"""The audit of a run's requests, by the behaviour of its models alone."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice

from raymu.core.records import Generation
from raymu.core.verdict import Verdict
from raymu.data.tables import FeatureTable, read_labelled
from raymu.errors import ConfigInvalid, RequestInvalid
from raymu.service.audit.forget_set import AuditScope, ForgottenSamples, find_forgotten
from raymu.service.audit.remedy import remedy_of_shard
from raymu.service.audit.report import AuditReport, RequestAudit
from raymu.service.audit.samples import assemble_samples
from raymu.service.audit.shard_models import TWINS, ShardModels, audit_tasks, score_models
from raymu.service.audit.statistics import audit_accuracy, audit_request, audit_shard, retained_baseline
from raymu.service.audit.tasks import RunTasks, one_after_another
from raymu.service.prediction import Ensemble
from raymu.store.run import RunStore
from raymu.training.audit.remedy import AuditedRemedy
from raymu.training.audit.samples import AuditSamples, ModelKind
from raymu.training.audit.shadow_models import AuditedModel, AuditTask, restored_model
from raymu.training.targets import TARGETS

LEVEL = 0.05
"""Probability that an exact retraining fails: over all requests together, and over the requests one by one."""
MIN_SHADOW_MODELS = 4
MIN_REPETITIONS = 3

Progress = Callable[[int, int], None]
"""Called with the number of trained models, from 0 on, and their total number."""
Phase = Callable[[str], None]
"""Called with the name of each part of the work when it begins."""

PHASES: Mapping[ModelKind, str] = {
    ModelKind.BEFORE: "remedies",
    ModelKind.ORACLE: "oracles",
    ModelKind.SHADOW: "shadow models",
}
"""Names of the phases in which the models of each kind are trained."""


def no_progress(_done: int, _total: int) -> None:
    """Ignore progress."""


def no_phase(_name: str) -> None:
    """Ignore the phase."""


def audit(
    store: RunStore,
    scope: AuditScope,
    *,
    run_tasks: RunTasks = one_after_another,
    progress: Progress = no_progress,
    phase: Phase = no_phase,
) -> AuditReport:
    """Audit requests. Nothing is written.

    Args:
        store: The run.
        scope: What is audited, and with how many models.
        run_tasks: Trains the models.
        progress: Called before the first model and after each.
        phase: Called before each part of the work.

    Raises:
        RaymuError: RequestInvalid, DataInvalid or ConfigInvalid if the scope does not fit. FileMissing, FileCorrupt or
            RunInvalid if the run is damaged. DeviceUnavailable if a model cannot be trained as the run was.
    """
    if scope.shadow_models < MIN_SHADOW_MODELS or scope.shadow_models % 2:
        raise RequestInvalid(
            f"{scope.shadow_models} shadow models: an audit needs an even number, {MIN_SHADOW_MODELS} or more, because "
            "half of them are trained on each sample"
        )
    if 0 != scope.repetitions < MIN_REPETITIONS:
        raise RequestInvalid(
            f"{scope.repetitions} repetitions: give {MIN_REPETITIONS} or more, because a spread is measured, or 0 for none"
        )
    target = store.config.task.target
    if not TARGETS[target].has_membership:
        raise RequestInvalid(
            f"membership inference asks how sure a model is of the truth, which has no meaning for task.target {target}; "
            "`raymu verify --replay` proves what was retrained"
        )
    phase("reading the samples")
    forgotten = find_forgotten(store, scope)
    test = _read_test_set(store, scope.test)
    generation = store.current()
    shard_numbers = sorted({*forgotten.shards.tolist()})
    audit_samples = [assemble_samples(store, generation, forgotten, shard, test) for shard in shard_numbers]
    is_repeated = scope.repetitions > 0
    remedies = [
        remedy_of_shard(store, generation, forgotten, shard, is_repeated=is_repeated) for shard in shard_numbers
    ]
    shards = list(_train(store, generation, audit_samples, remedies, scope, run_tasks, progress, phase))
    phase("comparing")
    together, requests = _audit_requests(shards, forgotten)
    has_failure = any(request.verdict is Verdict.FAIL for request in requests)
    return AuditReport(
        generation=generation.number,
        verdict=Verdict.FAIL if has_failure else together.verdict,
        shadow_models=scope.shadow_models,
        oracles=1 + TWINS,
        accuracy=audit_accuracy(Ensemble(store, generation), shards, test),
        together=together,
        requests=requests,
        shards=tuple(audit_shard(shard) for shard in shards),
        exposure=retained_baseline(shards),
        passes=sum(shard.passes for shard in shards),
        seconds=sum(shard.seconds for shard in shards),
        repetitions=scope.repetitions,
    )


def _train(
    store: RunStore,
    generation: Generation,
    audit_samples: Sequence[AuditSamples],
    remedies: Sequence[AuditedRemedy],
    scope: AuditScope,
    run_tasks: RunTasks,
    progress: Progress,
    phase: Phase,
) -> Iterator[ShardModels]:
    """Start the training of all models at once, and score them shard by shard."""
    tasks_by_shard = [
        audit_tasks(samples, remedy, shadow_models=scope.shadow_models, repetitions=scope.repetitions)
        for samples, remedy in zip(audit_samples, remedies, strict=True)
    ]
    tasks = [task for shard_tasks in tasks_by_shard for task in shard_tasks]
    models = _with_progress(run_tasks(tasks), tasks, progress, phase)
    for samples, remedy, shard_tasks in zip(audit_samples, remedies, tasks_by_shard, strict=True):
        file = generation.lineages[samples.shard].serving.file
        served = restored_model(samples, store.files.read_checked(file), source=file.path)
        trained = list(islice(models, len(shard_tasks)))
        phase(f"shard {samples.shard}: attacks")
        yield score_models(samples, remedy, served, shard_tasks, trained)


def _with_progress(
    models: Iterable[AuditedModel], tasks: Sequence[AuditTask], progress: Progress, phase: Phase
) -> Iterator[AuditedModel]:
    """Say what is waited for, and how much is done."""
    progress(0, len(tasks))
    named = ""
    waiting = iter(models)
    for done, task in enumerate(tasks):
        name = f"shard {task.samples.shard}: {PHASES[task.kind]}"
        if name != named:
            phase(name)
            named = name
        model = next(waiting)
        progress(done + 1, len(tasks))
        yield model


def _audit_requests(
    shards: Sequence[ShardModels], forgotten: ForgottenSamples
) -> tuple[RequestAudit, tuple[RequestAudit, ...]]:
    """Audit all requests together, and each by itself at its share of the level."""
    request_ids = tuple(sorted({*forgotten.request_ids.tolist()}))
    together = audit_request(shards, forgotten, request_ids=request_ids, level=LEVEL)
    if len(request_ids) == 1:
        return together, (together,)
    level = LEVEL / len(request_ids)
    return together, tuple(
        audit_request(shards, forgotten.of_request(request_id), request_ids=(request_id,), level=level)
        for request_id in request_ids
    )


def _read_test_set(store: RunStore, path: str | None) -> FeatureTable | None:
    """Read the given table, or the one that the run's configuration names. Raises DataInvalid, ConfigInvalid."""
    path = path or store.data_file("test")
    if path is None:
        return None
    table = read_labelled(path, store.config.data, store.manifest.class_table, store.manifest.form)
    if table.labels is None:
        raise ConfigInvalid(
            f"{path}: has no column {', '.join(store.config.data.label_columns)}; an audit needs the test set's labels"
        )
    return table
