"""The audit of a run's requests: what was forgotten, by the models' behaviour alone."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice

from raymu.core.records import Generation
from raymu.core.verdict import Verdict
from raymu.data.tables import FeatureTable, read_features
from raymu.errors import ConfigInvalid, RequestInvalid
from raymu.service.audit.forget_set import AuditScope, ForgottenSamples, find_forgotten
from raymu.service.audit.pool import assemble_samples
from raymu.service.audit.report import AuditReport, RequestAudit
from raymu.service.audit.shard_models import TWINS, ShardModels, audit_tasks, score_models
from raymu.service.audit.statistics import audit_accuracy, audit_request, audit_shard, retained_baseline
from raymu.service.prediction import Ensemble
from raymu.store.run import RunStore
from raymu.training.audit.samples import AuditSamples
from raymu.training.audit.shadow_models import AuditedModel, AuditTask, restored_model, train_model

LEVEL = 0.05
"""Probability that an exact retraining fails: of all requests together, and of any one of them."""
FEWEST_SHADOW_MODELS = 4

RunTasks = Callable[[Sequence[AuditTask]], Iterable[AuditedModel]]
"""Carries out tasks, in whatever way, and yields the models in the tasks' order."""


def one_after_another(tasks: Sequence[AuditTask]) -> Iterator[AuditedModel]:
    """In this process."""
    return (train_model(task.pool, task.kind, task.number) for task in tasks)


def audit(
    store: RunStore,
    scope: AuditScope,
    *,
    run_tasks: RunTasks = one_after_another,
    progress: Callable[[int, int], None] = lambda _done, _of: None,
) -> AuditReport:
    """Audit requests; nothing is written. progress: called with the models trained so far, and how many there will be

    Raises RequestInvalid, DataInvalid, ConfigInvalid, FileMissing, FileCorrupt, RunInvalid, DeviceUnavailable.
    """
    if scope.shadow_models < FEWEST_SHADOW_MODELS or scope.shadow_models % 2:
        raise RequestInvalid(
            f"an audit takes an even number of shadow models, {FEWEST_SHADOW_MODELS} or more, since each sample is in for "
            f"half of them; {scope.shadow_models} is none"
        )
    forgotten = find_forgotten(store, scope)
    test = _test_set(store, scope.test)
    generation = store.current()
    pools = [
        assemble_samples(store, generation, forgotten, shard, test) for shard in sorted({*forgotten.shards.tolist()})
    ]
    evidences = list(_evidences(store, generation, pools, scope.shadow_models, run_tasks, progress))
    together, requests = _requests(evidences, forgotten)
    return AuditReport(
        generation=generation.number,
        verdict=Verdict.FAIL if any(one.verdict is Verdict.FAIL for one in requests) else together.verdict,
        shadow_models=scope.shadow_models,
        oracles=1 + TWINS,
        accuracy=audit_accuracy(Ensemble(store, generation), evidences, test),
        together=together,
        requests=requests,
        shards=tuple(audit_shard(one) for one in evidences),
        exposure=retained_baseline(evidences),
        passes=sum(one.passes for one in evidences),
        seconds=sum(one.seconds for one in evidences),
    )


def _evidences(
    store: RunStore,
    generation: Generation,
    pools: Sequence[AuditSamples],
    shadow_models: int,
    run_tasks: RunTasks,
    progress: Callable[[int, int], None],
) -> Iterator[ShardModels]:
    """Start everything, and take it up shard by shard."""
    tasks = [audit_tasks(pool, shadow_models) for pool in pools]
    total = sum(len(some) for some in tasks)
    models = _watched(run_tasks([task for some in tasks for task in some]), total, progress)
    for pool, some in zip(pools, tasks, strict=True):
        file = generation.lineages[pool.shard].serving.file
        served = restored_model(pool, store.files.read_checked(file), source=file.path)
        yield score_models(pool, served, list(islice(models, len(some))), store.config.unlearning.ohs)


def _watched(
    models: Iterable[AuditedModel], total: int, progress: Callable[[int, int], None]
) -> Iterator[AuditedModel]:
    for done, model in enumerate(models, start=1):
        progress(done, total)
        yield model


def _requests(
    evidences: Sequence[ShardModels], forgotten: ForgottenSamples
) -> tuple[RequestAudit, tuple[RequestAudit, ...]]:
    """All together, and each by itself at its share of the level."""
    request_ids = tuple(sorted({*forgotten.request_ids.tolist()}))
    together = audit_request(evidences, forgotten, request_ids=request_ids, level=LEVEL)
    if len(request_ids) == 1:
        return together, (together,)
    level = LEVEL / len(request_ids)
    each = (audit_request(evidences, forgotten.of_request(one), request_ids=(one,), level=level) for one in request_ids)
    return together, tuple(each)


def _test_set(store: RunStore, path: str | None) -> FeatureTable | None:
    """The table given, or the one that the run's configuration names. Raises DataInvalid, ConfigInvalid."""
    path = path or store.config.data.test
    if path is None:
        return None
    table = read_features(path, store.config.data)
    if table.labels is None:
        raise ConfigInvalid(f"{path}: has no column {store.config.data.label}; an audit needs the test set's labels")
    return table
