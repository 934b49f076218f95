"""Methods of honouring requests, compared on one trained run.

Every comparison carries the retrained oracle, the untouched model, the control that subtracts nothing, and an oracle of
another seed, whose distance from the first is the floor that no method can be expected to pass.
"""

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any
from uuid import uuid4

import numpy as np

from raymu.api import Revocation, open_run
from raymu.config import Config
from raymu.config.unlearning import OnAccept, Strategy
from raymu.core.arrays import Targets
from raymu.core.board.serving import served_constituent
from raymu.core.oracle_gap import PredictionSummary
from raymu.core.receipt import Receipt
from raymu.core.records import Exactness, Generation, SampleId
from raymu.core.trust import EVERYTHING
from raymu.data.rows import Rows
from raymu.data.tables import SampleTable, read_training_table
from raymu.errors import UnknownSamples
from raymu.new_run import train
from raymu.service.requests.sample_index import SampleIndex
from raymu.service.training_plan import sample_form, training_data
from raymu.service.trial import EvaluationSet, Predict, publish_branch, read_test_set, temporary_branch
from raymu.store.run import RunStore

SCRATCH, CONTROL, UNTOUCHED, OTHER_SEED = "from scratch", "control", "untouched", "other seed"
BASELINES = (SCRATCH, OTHER_SEED, UNTOUCHED, CONTROL)
"""What every comparison carries beside its methods."""

Requests = Sequence[Sequence[SampleId]]
"""The sample ids of each request, in the order in which the requests arrive."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Method:
    """A way to honour a request."""

    name: str
    strategy: Strategy
    boundary: float | str | None = None
    """The hybrid boundary; None for the run's own."""
    unlearning: Mapping[str, Any] = field(default_factory=dict)
    """Settings of `unlearning` that differ from the run's."""


STRATEGIES = tuple(Method(name=strategy, strategy=strategy) for strategy in Strategy)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ComparisonSetup:
    """A trained run, the samples that can be revoked from it, and the test set."""

    config: Config
    base: str
    """Location of the trained run."""
    scratch: Path
    """A folder for branches and oracles."""
    table: SampleTable
    test_features: Rows
    test_labels: Targets

    @classmethod
    def of(cls, config: Config, base: str, scratch: Path) -> "ComparisonSetup":
        """Read the run's training and test data. Raises DataInvalid, RequestInvalid."""
        assert config.data.test is not None, "a comparison needs test data"
        form = sample_form(config)
        training = read_training_table(training_data(config), config.data, form, is_wide=True)
        features, labels = read_test_set(config.data.test, config.data, training.classes, form)
        return cls(
            config=config,
            base=base,
            scratch=scratch,
            table=training.samples,
            test_features=features,
            test_labels=labels,
        )

    def evaluation_set(self, requests: Requests) -> EvaluationSet:
        """Build the evaluation set whose forget set is the samples of these requests."""
        forgotten = self.table.take(np.flatnonzero(np.isin(self.table.ids, all_ids(requests))))
        return EvaluationSet(features=self.test_features, labels=self.test_labels, forgotten=forgotten)

    def test_accuracy(self, predict: Predict) -> float:
        """Return the accuracy on the test set."""
        return self.evaluation_set([]).accuracy(predict)

    @contextmanager
    def branch(self, unlearning: Mapping[str, Any]) -> Iterator[str]:
        """Branch the trained run with other settings of `unlearning`. Yields the branch's location."""
        store = RunStore(self.base, trust=EVERYTHING)
        lineages = store.current().lineages
        tree = self.config.tree()
        config = Config.parse(tree | {"unlearning": {**tree["unlearning"], **unlearning}})
        with temporary_branch(store, lineages, config.unlearning, folder=self.scratch) as branch:
            publish_branch(branch, lineages)
            yield branch.location


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class MethodResult:
    """The cost of one method for a series of requests, and the run's predictions afterwards."""

    method: str
    passes: float
    """Sample passes over all requests."""
    seconds: float
    """Compute seconds over all requests."""
    exactness: str
    predictions: PredictionSummary
    """Predictions after the last request."""
    receipts: tuple[Receipt, ...] = ()
    repaired_s: float | None = None
    """Median seconds from a request's receipt until the repaired generation was published."""

    @property
    def forgotten_s(self) -> float | None:
        """Median seconds from a request's receipt until every served state was trained without its samples, or patched."""
        return _median_seconds(
            [(receipt.received_at, receipt.rewound_at or receipt.published_at) for receipt in self.receipts]
        )


def no_announcement(_method: str) -> None:
    """Announce nothing."""


def compare(
    setup: ComparisonSetup,
    requests: Requests,
    methods: Sequence[Method] = STRATEGIES,
    announce: Callable[[str], None] = no_announcement,
) -> list[MethodResult]:
    """Honour the requests, one after the other, with each method, and measure all of `BASELINES`.

    Args:
        setup: The trained run.
        requests: What is revoked.
        methods: The methods to compare.
        announce: Called with the name of each method before it starts.
    """
    runs: dict[str, Callable[[], MethodResult]] = {
        method.name: partial(revoke_with, method, setup, requests) for method in methods
    }
    runs |= {
        SCRATCH: partial(train_from_scratch, setup, requests),
        OTHER_SEED: partial(train_from_scratch, setup, requests, seed=setup.config.partition.seed + 1),
        UNTOUCHED: partial(leave_untouched, setup, requests),
        CONTROL: partial(fine_tune_control, setup, requests),
    }
    results = []
    for name, run in runs.items():
        announce(name)
        results.append(run())
    return results


def revoke_with(method: Method, setup: ComparisonSetup, requests: Requests, *, together: int = 1) -> MethodResult:
    """Honour the requests with one method, on a branch of the trained run.

    Args:
        method: Strategy and settings.
        setup: The trained run.
        requests: What is revoked.
        together: Number of requests that arrive at the same moment. A remedy that serves several of them counts once.
    """
    revocations = [Revocation(ids=tuple(ids), strategy=method.strategy, boundary=method.boundary) for ids in requests]
    evaluation = setup.evaluation_set(requests)
    with setup.branch(method.unlearning) as location, open_run(location) as run:
        run.warm_up()
        receipts = run.revoke_together(revocations[:together])
        for start in range(together, len(revocations), together):
            receipts += run.revoke_together(revocations[start : start + together])
        remedies = {part.command_id: part for receipt in receipts for part in receipt.shards}.values()
        is_exact = all(receipt.exactness is Exactness.EXACT for receipt in receipts)
        return MethodResult(
            method=method.name,
            passes=sum(remedy.passes for remedy in remedies),
            seconds=sum(remedy.seconds for remedy in remedies),
            exactness=Exactness.EXACT if is_exact else Exactness.APPROXIMATE,
            predictions=evaluation.summarize(run.predict),
            receipts=tuple(receipts),
            repaired_s=_median_seconds([(receipt.received_at, receipt.published_at) for receipt in receipts]),
        )


def train_from_scratch(setup: ComparisonSetup, requests: Requests, *, seed: int | None = None) -> MethodResult:
    """Train the oracle once without all the samples. Its cost is counted for every request.

    Args:
        setup: The trained run.
        requests: What the oracle is trained without.
        seed: A seed other than the run's. The distance between two oracles is noise that no method can avoid.
    """
    partition = replace(setup.config.partition, seed=setup.config.partition.seed if seed is None else seed)
    config = replace(setup.config, partition=partition)
    location = setup.scratch / uuid4().hex
    with train(config, str(location), exclude=all_ids(requests)) as run:
        predictions = setup.evaluation_set(requests).summarize(run.predict)
        result = MethodResult(
            method=SCRATCH if seed is None else OTHER_SEED,
            passes=run.training.passes * len(requests),
            seconds=run.training.compute_seconds * len(requests),
            exactness=Exactness.EXACT,
            predictions=predictions,
            repaired_s=run.training.seconds,
        )
    shutil.rmtree(location)
    return result


def leave_untouched(setup: ComparisonSetup, requests: Requests) -> MethodResult:
    """Predict with the trained run as it is, at no cost."""
    with open_run(setup.base) as run:
        predictions = setup.evaluation_set(requests).summarize(run.predict)
    return MethodResult(method=UNTOUCHED, passes=0.0, seconds=0.0, exactness="no forgetting", predictions=predictions)


def fine_tune_control(setup: ComparisonSetup, requests: Requests) -> MethodResult:
    """Fine-tune for each request without subtracting anything. The predictions are those of one control for all requests."""
    store = RunStore(setup.base, trust=EVERYTHING)
    evaluation = setup.evaluation_set(requests)
    controls = [setup.evaluation_set([ids]).control(store) for ids in requests]
    control = evaluation.control(store) if len(requests) > 1 else controls[0]
    return MethodResult(
        method=CONTROL,
        passes=sum(each.passes for each in controls),
        seconds=sum(each.seconds for each in controls),
        exactness="no forgetting",
        predictions=evaluation.summarize(control.predict),
    )


def all_ids(requests: Requests) -> list[SampleId]:
    """Join the sample ids of all requests."""
    return [sample_id for ids in requests for sample_id in ids]


def _median_seconds(spans: Sequence[tuple[datetime, datetime | None]]) -> float | None:
    """Return the median length of the spans that have an end; None if none has."""
    seconds = [(end - start).total_seconds() for start, end in spans if end is not None]
    return median(seconds) if seconds else None


def rewound_generation(store: RunStore, sample_ids: Sequence[SampleId]) -> Generation:
    """Return the generation that accepting a request for these samples would publish. Nothing is published.

    Raises:
        UnknownSamples: The run has no sample of one of these ids.
    """
    current = store.current()
    homes = SampleIndex(store, lambda shard: current.lineages[shard].sample_files).homes(sample_ids)
    unknown = [str(sample_id) for sample_id, home in zip(sample_ids, homes, strict=True) if home is None]
    if unknown:
        raise UnknownSamples(unknown[:3], len(unknown))
    earliest: dict[int, int] = {}
    for shard, slice_index in filter(None, homes):
        earliest[shard] = min(slice_index, earliest.get(shard, slice_index))
    return replace(
        current,
        constituents=tuple(
            served_constituent(lineage, pending_from=earliest.get(lineage.shard), on_accept=OnAccept.REWIND)
            for lineage in current.lineages
        ),
    )
