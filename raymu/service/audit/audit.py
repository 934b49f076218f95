"""The audit of a run's requests, by the behaviour of its models alone."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice

from raymu.core.records import Generation
from raymu.core.verdict import Verdict
from raymu.data.tables import FeatureTable, read_features
from raymu.errors import ConfigInvalid, RequestInvalid
from raymu.service.audit.forget_set import AuditScope, ForgottenSamples, find_forgotten
from raymu.service.audit.report import AuditReport, RequestAudit
from raymu.service.audit.samples import assemble_samples
from raymu.service.audit.shard_models import TWINS, ShardModels, audit_tasks, score_models
from raymu.service.audit.statistics import audit_accuracy, audit_request, audit_shard, retained_baseline
from raymu.service.prediction import Ensemble
from raymu.store.run import RunStore
from raymu.training.audit.samples import AuditSamples
from raymu.training.audit.shadow_models import AuditedModel, AuditTask, restored_model, train_model

LEVEL = 0.05
"""Probability that an exact retraining fails: over all requests together, and over the requests one by one."""
MIN_SHADOW_MODELS = 4

RunTasks = Callable[[Sequence[AuditTask]], Iterable[AuditedModel]]
"""Trains the models of some tasks, and yields them in the order of the tasks."""
Progress = Callable[[int, int], None]
"""Called with the number of trained models and their total number."""


def one_after_another(tasks: Sequence[AuditTask]) -> Iterator[AuditedModel]:
    """Train the models in this process."""
    return (train_model(task.samples, task.kind, task.number) for task in tasks)


def no_progress(_done: int, _total: int) -> None:
    """Ignore progress."""


def audit(
    store: RunStore,
    scope: AuditScope,
    *,
    run_tasks: RunTasks = one_after_another,
    progress: Progress = no_progress,
) -> AuditReport:
    """Audit requests. Nothing is written.

    Args:
        store: The run.
        scope: What is audited, and with how many models.
        run_tasks: Trains the models.
        progress: Called after each trained model.

    Raises:
        RaymuError: RequestInvalid, DataInvalid or ConfigInvalid if the scope does not fit. FileMissing, FileCorrupt or
            RunInvalid if the run is damaged. DeviceUnavailable if a model cannot be trained as the run was.
    """
    if scope.shadow_models < MIN_SHADOW_MODELS or scope.shadow_models % 2:
        raise RequestInvalid(
            f"{scope.shadow_models} shadow models: an audit needs an even number, {MIN_SHADOW_MODELS} or more, because "
            "half of them are trained on each sample"
        )
    forgotten = find_forgotten(store, scope)
    test = _read_test_set(store, scope.test)
    generation = store.current()
    audit_samples = [
        assemble_samples(store, generation, forgotten, shard, test) for shard in sorted({*forgotten.shards.tolist()})
    ]
    shards = list(_train(store, generation, audit_samples, scope.shadow_models, run_tasks, progress))
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
    )


def _train(
    store: RunStore,
    generation: Generation,
    audit_samples: Sequence[AuditSamples],
    shadow_models: int,
    run_tasks: RunTasks,
    progress: Progress,
) -> Iterator[ShardModels]:
    """Start the training of all models at once, and score them shard by shard."""
    tasks_by_shard = [audit_tasks(samples, shadow_models) for samples in audit_samples]
    tasks = [task for shard_tasks in tasks_by_shard for task in shard_tasks]
    models = _with_progress(run_tasks(tasks), len(tasks), progress)
    for samples, shard_tasks in zip(audit_samples, tasks_by_shard, strict=True):
        file = generation.lineages[samples.shard].serving.file
        served = restored_model(samples, store.files.read_checked(file), source=file.path)
        yield score_models(samples, served, list(islice(models, len(shard_tasks))), store.config.unlearning.ohs)


def _with_progress(models: Iterable[AuditedModel], total: int, progress: Progress) -> Iterator[AuditedModel]:
    for done, model in enumerate(models, start=1):
        progress(done, total)
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
    path = path or store.config.data.test
    if path is None:
        return None
    table = read_features(path, store.config.data)
    if table.labels is None:
        raise ConfigInvalid(f"{path}: has no column {store.config.data.label}; an audit needs the test set's labels")
    return table
