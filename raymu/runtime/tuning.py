"""The search for the hybrid boundary with Ray Tune. The objective is a plain class; only this module knows Tune's types."""

import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import ray
from ray import tune
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search.basic_variant import BasicVariantGenerator
from ray.tune.search.optuna import OptunaSearch

from raymu.config import ClusterConfig
from raymu.core.trust import EVERYTHING, Trust
from raymu.core.tuning import Choice, Constraints, InterimScore, Score, Search, TuningTrial
from raymu.errors import RaymuError
from raymu.runtime.cluster import cluster_connection
from raymu.runtime.nodes import require_room_here, this_node
from raymu.runtime.ray_internals import as_remote
from raymu.runtime.shard_resources import shard_bundle, task_options
from raymu.service.phase import begin_phase
from raymu.service.tuning.finished_trials import FinishedTrial, FinishedTrials
from raymu.service.tuning.objective import ObjectiveSpec, TuningObjective
from raymu.service.tuning.report import TuningReport, save, score_trials
from raymu.service.tuning.search_folder import claim_folder
from raymu.store.codec import to_json
from raymu.store.run import RunStore

_NAME = "search"
"""The folder of Tune's own state, in a temporary one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchResult:
    """The trials of a search that ran to their end."""

    trials: tuple[TuningTrial, ...]
    stopped: int
    """How many other trials were ended early."""


def tune_boundary(
    spec: ObjectiveSpec,
    search: Search,
    constraints: Constraints,
    *,
    trust: Trust,
    cluster: ClusterConfig,
    progress: Callable[[int, int], None],
) -> TuningReport:
    """Search for the hybrid boundary, and save a report in the folder of the search.

    Args:
        spec: The run, the traffic and the test data. Its folder is created if it is missing.
        search: Which settings to try, and how.
        constraints: What a setting must satisfy to be recommended.
        trust: The demands of the run that are followed.
        cluster: Where trials run, and their resources.
        progress: Called with the number of trials that have ended, and the number of all.

    Raises:
        RaymuError: RunInvalid if the run owes retraining, TraceInvalid, DataInvalid or RequestInvalid, before anything is
            written. DeviceUnavailable, and what a trial raises.
    """
    objective, folder = TuningObjective(spec, trust), Path(spec.scratch)
    for choice in search.space.grid(1):
        objective.unlearning(choice)  # raises if the run does not allow it
    folder.mkdir(parents=True, exist_ok=True)
    result = _search(objective, spec, search, constraints, trust=trust, cluster=cluster, progress=progress)
    begin_phase("comparing")
    report = score_trials(objective, spec.traffic or str(spec.trace), result.trials, constraints, result.stopped)
    save(report, folder)
    return report


def _search(
    objective: TuningObjective,
    spec: ObjectiveSpec,
    search: Search,
    constraints: Constraints,
    *,
    trust: Trust,
    cluster: ClusterConfig,
    progress: Callable[[int, int], None],
) -> SearchResult:
    """Try choices in parallel, as many as this node has room for.

    The folder keeps the finished trials, so that calling it again resumes an interrupted search.

    Raises:
        RaymuError: RequestInvalid if the folder belongs to another search, DeviceUnavailable, and what a trial raises.
    """
    request = to_json(_Request(plan=spec, search=search, constraints=constraints, digest=objective.digest))
    folder = Path(spec.scratch)
    for name in ("ray.tune", "optuna"):
        logging.getLogger(name).setLevel(logging.ERROR)
    # Tune's new output writes to standard output at every verbosity.
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    begin_phase("starting")
    with cluster_connection(cluster):
        node_id = require_room_here(cluster)  # the folder is on this node
        claim_folder(folder, request)
        preparation = as_remote(prepare).options(**task_options(cluster), scheduling_strategy=this_node())
        begin_phase("retraining the oracle")
        ray.get(preparation.remote(spec, trust))
        begin_phase("trying settings")
        trials = len(search.space.grid(search.trials)) if search.method == "grid" else search.trials
        progress(0, trials)
        trainable = tune.with_resources(
            partial(_trial, spec=spec, trust=trust, constraints=constraints, reports_progress=search.stops_early),
            tune.PlacementGroupFactory([shard_bundle(cluster)], bundle_label_selector=[{"ray.io/node-id": node_id}]),
        )
        # Tune writes pickles, which nothing may read again: a search resumes from `FinishedTrials`.
        with TemporaryDirectory(prefix="raymu-tune-") as state:
            tuner = tune.Tuner(
                trainable,
                param_space=_param_space(search),
                tune_config=_tune_config(search, max_requests=len(objective.trace.requests)),
                run_config=tune.RunConfig(
                    name=_NAME, storage_path=state, verbose=0, callbacks=[_TrialCounter(progress, trials)]
                ),
            )
            return _collect(tuner.fit())


def prepare(spec: ObjectiveSpec, trust: Trust = EVERYTHING) -> None:
    """Train the oracle, once for all trials, with the resources of a shard."""
    _ = TuningObjective(spec, trust).oracle


@dataclass(frozen=True, kw_only=True, slots=True)
class _Request:
    """What identifies a search. It is stored in the folder, so the names of its fields stay."""

    plan: ObjectiveSpec
    search: Search
    constraints: Constraints
    digest: str
    """A hash of the run, the trace and the test data."""


@cache
def _objective(spec: ObjectiveSpec, trust: Trust) -> TuningObjective:
    """Return the objective that all trials of a process share."""
    return TuningObjective(spec, trust)


def _trial(
    choice: Mapping[str, Any], *, spec: ObjectiveSpec, trust: Trust, constraints: Constraints, reports_progress: bool
) -> None:
    objective, tried = _objective(spec, trust), Choice.of(choice)
    finished = FinishedTrials(Path(spec.scratch), RunStore(spec.location, trust=trust).keys.hash_key)
    interim: list[tuple[int, InterimScore]] = []

    def report(accepted: int, score: InterimScore) -> None:
        loss = constraints.loss(score, retrain_passes=objective.retrain_passes)
        tune.report({**asdict(score), "loss": loss, "accepted": accepted})

    def report_interim(accepted: int, score: InterimScore) -> None:
        interim.append((accepted, score))
        report(accepted, score)

    trial = finished.find(tried)
    if trial is None:
        score = objective.evaluate(tried, report_interim if reports_progress else None)
        trial = FinishedTrial(choice=tried, interim=tuple(interim), score=score)
        finished.write(trial)
    else:
        for accepted, earlier in trial.interim:
            report(accepted, earlier)
    report(len(objective.trace.requests), trial.score)


def _param_space(search: Search) -> dict[str, Any]:
    space = search.space
    options = {
        "strategy": [strategy.value for strategy in space.strategies],
        "contributions": [contributions.value for contributions in space.contributions],
        "fine_tune_slices": space.fine_tune_slices,
        "window_s": space.windows_s,
    }
    if search.method == "grid":
        boundaries = list(dict.fromkeys(choice.boundary for choice in space.grid(search.trials)))
        grids = {name: tune.grid_search(list(values)) for name, values in options.items()}
        return {"boundary": tune.grid_search(boundaries), **grids}
    choices = {name: tune.choice(list(values)) for name, values in options.items()}
    return {"boundary": tune.uniform(*space.boundaries), **choices}


def _tune_config(search: Search, *, max_requests: int) -> tune.TuneConfig:
    searchers: dict[str, Callable[[], Any]] = {
        "grid": BasicVariantGenerator,
        "random": partial(BasicVariantGenerator, random_state=search.seed),
        "optuna": partial(OptunaSearch, seed=search.seed),
    }
    grace_period = max(1, max_requests // 4)
    asha = partial(
        ASHAScheduler, time_attr="accepted", max_t=max_requests, grace_period=grace_period, reduction_factor=2
    )
    return tune.TuneConfig(
        metric="loss",
        mode="min",
        search_alg=searchers[search.method](),
        scheduler=asha() if search.stops_early else None,
        num_samples=1 if search.method == "grid" else search.trials,
        reuse_actors=True,
    )


def _collect(results: tune.ResultGrid) -> SearchResult:
    """Return the trials in a fixed order. Raises what a trial raised."""
    for error in results.errors:
        cause = getattr(error, "cause", error)
        raise cause if isinstance(cause, RaymuError) else error
    names = {field.name for field in fields(Score)}
    trials = [
        TuningTrial(choice=Choice.of(result.config), score=Score(**{name: result.metrics[name] for name in names}))
        for result in (results[number] for number in range(len(results)))
        if result.config and result.metrics and "weights_sha256" in result.metrics
    ]
    trials.sort(key=lambda trial: repr(trial.choice))
    return SearchResult(trials=tuple(trials), stopped=len(results) - len(trials))


def _ignore_trials(_done: int, _of: int) -> None:
    """Ignore the progress of a search."""


class _TrialCounter(tune.Callback):
    """Reports each trial that ends."""

    def __init__(self, progress: Callable[[int, int], None], trials: int) -> None:
        self._progress, self._trials, self._done = progress, trials, 0

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the progress: Tune saves its callbacks with the search, and a terminal cannot be saved."""
        return {**self.__dict__, "_progress": _ignore_trials}

    def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:  # noqa: ARG002
        self._done += 1
        self._progress(self._done, max(self._trials, self._done))
