"""The objective of a search: one choice of settings, tried on a branch of the run."""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from raymu.config import TargetName, UnlearningConfig
from raymu.config.unlearning import Boundary, Contributions, Strategy
from raymu.core.audit.signals import Confidences
from raymu.core.forgetting_error import FEWEST_ORACLES, ORACLES, RetrainedConfidences
from raymu.core.oracle_gap import PredictionSummary
from raymu.core.planning.simulator import SimulationResult, simulate
from raymu.core.planning.trace import RevocableSamples, Trace
from raymu.core.planning.traffic import draw_trace, parse_traffic
from raymu.core.records import ShardLineage
from raymu.core.repair_speed import RepairSpeeds
from raymu.core.run_shape import RunShape
from raymu.core.trust import EVERYTHING, Trust
from raymu.core.tuning import Choice, InterimScore, Score
from raymu.data.traces import read_trace
from raymu.errors import RequestInvalid, RunInvalid
from raymu.service.history import replay
from raymu.service.planning.population import current_population
from raymu.service.prediction import Ensemble, repaired_generation
from raymu.service.trial import EvaluationSet, read_test_set, samples_at, temporary_branch
from raymu.service.tuning.branch_repairs import BranchRepairs
from raymu.service.tuning.forgotten import ForgottenByShard
from raymu.service.tuning.oracles import MeasuredModel, RetrainedOracles
from raymu.service.tuning.search_folder import branches_in
from raymu.store.codec import to_json
from raymu.store.run import RunStore
from raymu.text import plural

OnProgress = Callable[[int, InterimScore], None]
"""Called with the number of accepted requests and the score so far."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ObjectiveSpec:
    """Everything that an objective is made from. It is small and holds no sample ids, so it can be sent anywhere."""

    location: str
    """The run."""
    traffic: str | None
    """Traffic to draw a trace from, such as uniform:50."""
    trace: str | None
    """A file of requests, instead of traffic."""
    test: str
    """A labelled table."""
    scratch: str
    """The search's folder. Branches are fast if it is on the run's disk."""
    workers: int
    """Shards that are repaired side by side."""
    oracles: int = ORACLES
    """Oracles with seeds of their own, which the forgetting error is measured by."""

    def __post_init__(self) -> None:
        if self.oracles < FEWEST_ORACLES:
            raise RequestInvalid(f"{self.oracles} oracles: the forgetting error needs {FEWEST_ORACLES} or more")
        if (self.traffic is None) == (self.trace is None):
            raise RequestInvalid("give either --traffic, such as uniform:50, or --trace-file with a file of requests")


class TuningObjective:
    """Scores choices on branches of one run. The run itself is never changed."""

    def __init__(self, spec: ObjectiveSpec, trust: Trust = EVERYTHING) -> None:
        """Read the run, the trace and the test set.

        Args:
            spec: What to score by.
            trust: The demands of the run that are followed.

        Raises:
            RunInvalid: The run is not trained, or owes retraining.
            TraceInvalid: The trace names samples that the run does not have.
            DataInvalid: The test set cannot be used.
        """
        self._spec, self._store = spec, RunStore(spec.location, trust=trust)
        if (target := self._store.config.task.target) is not TargetName.CLASSES:
            raise RequestInvalid(
                f"a search scores the accuracy of classes, and task.target is {target}; set the boundary"
            )
        self._lineages, self._speeds = _state_without_debt(self._store)
        self._population = current_population(self._store, self._lineages)
        self.trace = _read_trace(spec, self._store, self._population)
        self._rows = self._population.rows_of(self.trace)
        manifest = self._store.manifest
        features, labels = read_test_set(spec.test, self._store.config.data, manifest.class_table, manifest.form)
        rows = np.sort(np.concatenate(self._rows))
        forgotten = samples_at(self._store, self._lineages, rows)
        self._forgotten = ForgottenByShard(self._store, self._lineages, forgotten, self._population.shards[rows])
        self._evaluation = EvaluationSet(features=features, labels=labels, forgotten=forgotten)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of everything that a score depends on except the choice: trace, states, settings and test data."""
        own = self._store.config.unlearning
        unchosen = replace(
            own,
            strategy=Strategy.SISA,
            boundary=Boundary.parse(0.0),
            contributions=Contributions.GRADIENT,
            ohs=replace(own.ohs, slices=1),
        )
        digest = hashlib.sha256(repr(self.trace).encode())
        for record in (unchosen, self._speeds, *self._lineages):
            digest.update(to_json(record))
        for values in (self._evaluation.features, self._evaluation.labels):
            digest.update(np.ascontiguousarray(values).data)
        return digest.hexdigest()

    def evaluate(self, choice: Choice, on_progress: OnProgress | None = None) -> Score:
        """Replay the trace with a choice, and score the branch that it leaves.

        Args:
            choice: Settings to try.
            on_progress: Called after each quarter of the trace but the last. It may raise, to stop the trial.

        Raises:
            RequestInvalid: The run does not allow the choice.
        """
        with self._branch(self.unlearning(choice)) as branch:
            repairs = BranchRepairs(branch, self._population, self._rows)
            reported_quarters = 0

            def report(accepted: int, passes: float, lineages: tuple[ShardLineage, ...]) -> None:
                nonlocal reported_quarters
                is_due = self._quarter * (1 + reported_quarters) <= accepted < len(self.trace.requests)
                if on_progress is None or not is_due:
                    return
                reported_quarters += 1
                accuracy = self._evaluation.accuracy(Ensemble(branch, repaired_generation(lineages)).predict)
                score = InterimScore(
                    passes=passes, lost_points=self._lost_points(accuracy), debt_share=_debt_share(lineages)
                )
                on_progress(accepted, score)

            simulation = self._simulate(branch, self.trace, repairs, window_s=choice.window_s, on_batch=report)
            return self._score(branch, simulation, repairs.measured_seconds)

    @cached_property
    def oracles(self) -> RetrainedOracles:
        """The oracles of the trace, with the run's seed and with others. Trained once, and kept in a file."""
        path = Path(self._spec.scratch) / f"oracles-{self.digest[:16]}-{self._spec.oracles}.npz"
        if not path.exists():
            self._retrain_oracles().save(path)
        return RetrainedOracles.load(path)

    @property
    def oracle(self) -> PredictionSummary:
        """Predictions of the run with every touched shard retrained without the trace's samples."""
        return self.oracles.own_seed

    @cached_property
    def untouched(self) -> MeasuredModel:
        """The run as it is, which has forgotten nothing."""
        return self._measure(self._store, self._lineages)

    @cached_property
    def control(self) -> MeasuredModel:
        """The negative control, which forgets nothing."""
        control = self._evaluation.control(self._store)
        return MeasuredModel(
            predictions=self._evaluation.summarize(control.predict),
            error=self.oracles.confidences.error_of(self._forgotten.confidences(control.states)),
        )

    def _retrain_oracles(self) -> RetrainedOracles:
        at_once = Trace(requests=tuple(replace(request, at_s=0.0) for request in self.trace.requests))
        with self._branch(self._with_sisa) as branch:
            simulation = self._simulate(branch, at_once, BranchRepairs(branch, self._population, self._rows))
            ensemble = Ensemble(branch, repaired_generation(simulation.lineages))
            own_confidences = self._confidences(branch, simulation.lineages)
        summaries, confidences = [], []
        for number in range(1, self._spec.oracles + 1):
            states = self._forgotten.retrain(number)
            summaries.append(self._evaluation.summarize(ensemble.replacing(states).predict))
            confidences.append(self._forgotten.confidences(states))
        return RetrainedOracles(
            own_seed=self._evaluation.summarize(ensemble.predict),
            other_seeds=tuple(summaries),
            confidences=RetrainedConfidences(own_seed=own_confidences, other_seeds=np.stack(confidences)),
        )

    @cached_property
    def retrain_passes(self) -> float:
        """Forecast sample passes of retraining for each request as it arrives."""
        return simulate(
            self.trace,
            self._population,
            self._lineages,
            shape=replace(RunShape.of(self._store.config), unlearning=self._with_sisa),
            workers=self._spec.workers,
            speeds=self._speeds,
        ).summary.passes

    def unlearning(self, choice: Choice) -> UnlearningConfig:
        """Return the run's settings with a choice. Raises RequestInvalid if the run does not allow it."""
        own = self._store.config.unlearning
        trained_for, chosen = own.contributions, choice.contributions
        records_beside_training = trained_for is Contributions.BATCH and not chosen.is_recorded
        if not (trained_for.may_become(chosen) or records_beside_training):
            raise RequestInvalid(f"contributions {chosen} cannot be tried: this run was trained for {trained_for}")
        slices = self._lineages[0].slices
        if not 1 <= choice.fine_tune_slices <= slices:
            raise RequestInvalid(f"fine-tuning on the last {choice.fine_tune_slices} slices: this run has {slices}")
        return replace(
            own,
            strategy=choice.strategy,
            boundary=Boundary.parse(choice.boundary),
            contributions=choice.contributions,
            ohs=replace(own.ohs, slices=choice.fine_tune_slices),
        )

    def _simulate(
        self,
        branch: RunStore,
        trace: Trace,
        repairs: BranchRepairs,
        *,
        window_s: float = 0.0,
        on_batch: Callable[[int, float, tuple[ShardLineage, ...]], None] = lambda _accepted, _passes, _lineages: None,
    ) -> SimulationResult:
        """Replay a trace with real repairs on a simulated clock."""
        return simulate(
            trace,
            self._population,
            self._lineages,
            shape=RunShape.of(branch.config, has_batch_norm=branch.manifest.has_batch_norm),
            workers=self._spec.workers,
            window_s=window_s,
            speeds=self._speeds,
            repairs=repairs,
            on_batch=on_batch,
        )

    def _score(self, branch: RunStore, simulation: SimulationResult, measured_seconds: float) -> Score:
        measured, summary = self._measure(branch, simulation.lineages), simulation.summary
        predictions, error = measured.predictions, measured.error
        gap = predictions.distance(self.oracle)
        weights = "".join(lineage.serving.weights_sha256 for lineage in simulation.lineages)
        return Score(
            passes=summary.passes,
            compute_seconds=summary.compute_seconds,
            measured_seconds=measured_seconds,
            makespan_s=summary.makespan_s,
            p50_s=summary.p50_s,
            p95_s=summary.p95_s,
            accuracy=predictions.test_accuracy,
            lost_points=self._lost_points(predictions.test_accuracy),
            forgetting_error=error.paired,
            klom_error=error.klom,
            too_little=gap.under,
            too_much=gap.over,
            approximate_share=summary.approximate_share,
            debt_share=_debt_share(simulation.lineages),
            weights_sha256=hashlib.sha256(weights.encode()).hexdigest(),
        )

    def _confidences(self, store: RunStore, lineages: tuple[ShardLineage, ...]) -> Confidences:
        return self._forgotten.confidences(self._forgotten.states(store, lineages))

    def _measure(self, store: RunStore, lineages: tuple[ShardLineage, ...]) -> MeasuredModel:
        ensemble = Ensemble(store, repaired_generation(lineages))
        return MeasuredModel(
            predictions=self._evaluation.summarize(ensemble.predict),
            error=self.oracles.confidences.error_of(self._confidences(store, lineages)),
        )

    def _lost_points(self, accuracy: float) -> float:
        return 100.0 * (self.oracle.test_accuracy - accuracy)

    @property
    def _quarter(self) -> float:
        return len(self.trace.requests) / 4

    @property
    def _with_sisa(self) -> UnlearningConfig:
        return replace(self._store.config.unlearning, strategy=Strategy.SISA)

    @contextmanager
    def _branch(self, unlearning: UnlearningConfig) -> Iterator[RunStore]:
        branches = branches_in(Path(self._spec.scratch))
        branches.mkdir(exist_ok=True)
        with temporary_branch(self._store, self._lineages, unlearning, folder=branches) as branch:
            yield branch


def _state_without_debt(store: RunStore) -> tuple[tuple[ShardLineage, ...], RepairSpeeds]:
    """Return a run's shards, and what its repairs have shown. Raises RunInvalid if it is not trained or owes retraining."""
    store.current()
    with closing(store.journal(is_read_only=True)) as journal:
        board = replay(journal, store.manifest).board
    if board.owed:
        raise RunInvalid(
            store.files.display_location,
            f"owes {plural(len(board.owed), 'request')} a retraining, which would be mixed with the debt of a trial; "
            "run `raymu settle` first",
        )
    return board.lineages, board.speeds


def _read_trace(spec: ObjectiveSpec, store: RunStore, population: RevocableSamples) -> Trace:
    if spec.trace is not None:
        return read_trace(spec.trace, integers=store.manifest.has_integer_ids)
    assert spec.traffic is not None, "a specification has traffic or a trace"
    return draw_trace(parse_traffic(spec.traffic), population)


def _debt_share(lineages: tuple[ShardLineage, ...]) -> float:
    return sum(bool(lineage.debts) for lineage in lineages) / len(lineages)
