"""The search for the hybrid boundary, by Ray Tune. The objective is an ordinary function, and Tune's types stop here."""

import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from functools import cache, partial
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search.basic_variant import BasicVariantGenerator
from ray.tune.search.optuna import OptunaSearch

from raymu.config import ClusterConfig
from raymu.core.tuning import Choice, Constraints, InterimScore, Score, Search, TuningTrial
from raymu.errors import RaymuError
from raymu.runtime.cluster import cluster_connection
from raymu.runtime.nodes import require_room_here, this_node
from raymu.runtime.placement import shard_bundle, task_options
from raymu.runtime.ray_internals import as_remote
from raymu.service.tuning.objective import ObjectiveSpec, TuningObjective
from raymu.service.tuning.report import TuningReport, save, score_trials
from raymu.service.tuning.search_folder import claim_folder
from raymu.store.codec import to_json

_NAME = "search"


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchResult:
    """stopped: how many trials were ended early"""

    trials: tuple[TuningTrial, ...]
    stopped: int


def tune_boundary(
    plan: ObjectiveSpec,
    wanted: Search,
    constraints: Constraints,
    *,
    cluster: ClusterConfig,
    progress: Callable[[int, int], None],
) -> TuningReport:
    """Search for the hybrid boundary, and leave what is found in the plan's folder, which is made where it is missing.

    progress: told how many trials have ended, and of how many
    Raises RunInvalid where the run owes retraining, TraceInvalid, DataInvalid, RequestInvalid, and then nothing is
    written; DeviceUnavailable, and what a trial raises.
    """
    bench, folder = TuningObjective(plan), Path(plan.scratch)
    for choice in wanted.space.grid(1):
        bench.unlearning(choice)  # refuses what the run does not allow for
    folder.mkdir(parents=True, exist_ok=True)
    found = _search(bench, plan, wanted, constraints, cluster=cluster, progress=progress)
    report = score_trials(bench, plan.traffic or str(plan.trace), found.trials, constraints, found.stopped)
    save(report, folder)
    return report


def _search(
    bench: TuningObjective,
    plan: ObjectiveSpec,
    wanted: Search,
    constraints: Constraints,
    *,
    cluster: ClusterConfig,
    progress: Callable[[int, int], None],
) -> SearchResult:
    """Try choices side by side, as many as this node has room for.

    The plan's folder keeps the search's state, so that one that broke off goes on when it is asked for again.
    Raises RequestInvalid where the folder holds another search, DeviceUnavailable, and what a trial raises.
    """
    request = to_json(_Request(plan=plan, search=wanted, constraints=constraints, digest=bench.digest))
    folder = Path(plan.scratch)
    state = folder / _NAME
    for name in ("ray.tune", "optuna"):
        logging.getLogger(name).setLevel(logging.ERROR)
    # The other output writes to standard output, however quiet it is told to be.
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    with cluster_connection(cluster):
        here = require_room_here(cluster)  # where the plan's folder is
        claim_folder(folder, request)
        preparation = as_remote(prepare).options(**task_options(cluster), scheduling_strategy=this_node())
        ray.get(preparation.remote(plan))
        objective = tune.with_resources(
            partial(_trial, plan=plan, constraints=constraints, tells=wanted.stops_early),
            tune.PlacementGroupFactory([shard_bundle(cluster)], bundle_label_selector=[{"ray.io/node-id": here}]),
        )
        if tune.Tuner.can_restore(str(state)):
            tuner = tune.Tuner.restore(str(state), objective, resume_unfinished=True, restart_errored=True)
        else:
            tuner = tune.Tuner(
                objective,
                param_space=_param_space(wanted),
                tune_config=_tune_config(wanted, most=len(bench.trace.requests)),
                run_config=tune.RunConfig(
                    name=_NAME, storage_path=str(folder), verbose=0, callbacks=[_Counter(progress, wanted.trials)]
                ),
            )
        return _collected(tuner.fit())


def prepare(plan: ObjectiveSpec) -> None:
    """Make the oracle where a shard is trained, once for all trials."""
    _ = TuningObjective(plan).oracle


@dataclass(frozen=True, kw_only=True, slots=True)
class _Request:
    """digest: of the run, the trace and the test data as they were"""

    plan: ObjectiveSpec
    search: Search
    constraints: Constraints
    digest: str


@cache
def _bench(plan: ObjectiveSpec) -> TuningObjective:
    """One for all trials of a process."""
    return TuningObjective(plan)


def _trial(choice: Mapping[str, Any], *, plan: ObjectiveSpec, constraints: Constraints, tells: bool) -> None:
    bench = _bench(plan)

    def report(accepted: int, score: InterimScore) -> None:
        loss = constraints.loss(score, retrain_passes=bench.retrain_passes)
        tune.report({**asdict(score), "loss": loss, "accepted": accepted})

    score = bench.evaluate(Choice(**choice), report if tells else None)
    report(len(bench.trace.requests), score)


def _param_space(wanted: Search) -> dict[str, Any]:
    space = wanted.space
    several = {
        "strategy": space.strategies,
        "contributions": space.contributions,
        "fine_tune_slices": space.fine_tune_slices,
        "window_s": space.windows_s,
    }
    if wanted.method == "grid":
        boundaries = list(dict.fromkeys(one.boundary for one in space.grid(wanted.trials)))
        grids = {name: tune.grid_search(list(values)) for name, values in several.items()}
        return {"boundary": tune.grid_search(boundaries), **grids}
    choices = {name: tune.choice(list(values)) for name, values in several.items()}
    return {"boundary": tune.uniform(*space.boundaries), **choices}


def _tune_config(wanted: Search, *, most: int) -> tune.TuneConfig:
    searchers: dict[str, Callable[[], Any]] = {
        "grid": BasicVariantGenerator,
        "random": partial(BasicVariantGenerator, random_state=wanted.seed),
        "optuna": partial(OptunaSearch, seed=wanted.seed),
    }
    asha = partial(ASHAScheduler, time_attr="accepted", max_t=most, grace_period=max(1, most // 4), reduction_factor=2)
    return tune.TuneConfig(
        metric="loss",
        mode="min",
        search_alg=searchers[wanted.method](),
        scheduler=asha() if wanted.stops_early else None,
        num_samples=1 if wanted.method == "grid" else wanted.trials,
        reuse_actors=True,
    )


def _collected(results: tune.ResultGrid) -> SearchResult:
    """Raises what a trial raised."""
    for error in results.errors:
        cause = getattr(error, "cause", error)
        raise cause if isinstance(cause, RaymuError) else error
    names = {one.name for one in fields(Score)}
    trials = [
        TuningTrial(choice=Choice(**result.config), score=Score(**{name: result.metrics[name] for name in names}))
        for result in (results[number] for number in range(len(results)))
        if result.config and result.metrics and "weights_sha256" in result.metrics
    ]
    trials.sort(key=lambda trial: repr(trial.choice))
    return SearchResult(trials=tuple(trials), stopped=len(results) - len(trials))


def _untold(_done: int, _of: int) -> None:
    """Nobody looks on."""


class _Counter(tune.Callback):
    """Tells of each trial that ends."""

    def __init__(self, progress: Callable[[int, int], None], trials: int) -> None:
        self._progress, self._trials, self._done = progress, trials, 0

    def __getstate__(self) -> dict[str, Any]:
        """Tune keeps its callbacks with the search; a terminal cannot be kept."""
        return {**self.__dict__, "_progress": _untold}

    def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:  # noqa: ARG002
        self._done += 1
        self._progress(self._done, max(self._trials, self._done))
