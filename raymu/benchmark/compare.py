"""Ways to honour requests side by side on one trained run, with the retrained oracle and the no-subtraction control."""

import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any
from uuid import uuid4

import numpy as np
import numpy.typing as npt

from raymu.api import Revocation, open_run, train
from raymu.config import Config
from raymu.core.board.serving import constituent
from raymu.core.oracle_gap import PredictionSummary
from raymu.core.receipt import Receipt
from raymu.core.records import Exactness, Generation, OnAccept, SampleId
from raymu.core.requests import Strategy
from raymu.data.tables import SampleTable, read_features, read_table
from raymu.errors import UnknownSamples
from raymu.service.negative_control import negative_control
from raymu.service.requests.sample_index import SampleIndex
from raymu.store.codec import seal
from raymu.store.run import RunStore

SCRATCH, CONTROL = "from scratch", "control"

Requests = Sequence[Sequence[SampleId]]
Predict = Callable[[npt.NDArray[np.generic]], npt.NDArray[np.float32]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Method:
    """A way to honour a request. boundary: the run's own where it is None; unlearning: settings that differ from the run's"""

    name: str
    strategy: Strategy
    boundary: float | str | None = None
    unlearning: Mapping[str, Any] = field(default_factory=dict)


STRATEGIES = tuple(Method(name=strategy, strategy=strategy) for strategy in Strategy)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ComparisonSetup:
    """The trained run and the samples that are tried on it."""

    config: Config
    base: str
    """Where the trained run lies."""
    scratch: Path
    """A folder for copies of it."""
    table: SampleTable
    test_features: npt.NDArray[np.generic]
    test_labels: npt.NDArray[np.int64]

    @classmethod
    def of(cls, config: Config, base: str, scratch: Path) -> "ComparisonSetup":
        """Raises DataInvalid."""
        assert config.data.test is not None, "a comparison needs test data"
        test = read_features(config.data.test, config.data)
        assert test.labels is not None, "a comparison needs labelled test data"
        return cls(
            config=config,
            base=base,
            scratch=scratch,
            table=read_table(config.data.train, config.data),
            test_features=test.features,
            test_labels=test.labels,
        )

    def test_accuracy(self, predict: Predict) -> float:
        return float((predict(self.test_features).argmax(axis=1) == self.test_labels).mean())

    def ask(self, predict: Predict, ids: Sequence[SampleId]) -> PredictionSummary:
        """ids: the forget set"""
        rows = np.flatnonzero(np.isin(self.table.ids, ids))
        return PredictionSummary.of(
            test=predict(self.test_features),
            test_labels=self.test_labels,
            forget=predict(self.table.features[rows]),
            forget_labels=self.table.labels[rows],
        )

    @contextmanager
    def copy_of_base(self, unlearning: Mapping[str, Any]) -> Iterator[str]:
        """A run of its own to revoke from, with other settings of unlearning: the trained one stays as it is."""
        with tempfile.TemporaryDirectory(dir=self.scratch) as place:
            shutil.copytree(self.base, place, dirs_exist_ok=True)
            store = RunStore(place)
            tree = self.config.tree()
            config = Config.parse(tree | {"unlearning": {**tree["unlearning"], **unlearning}})
            manifest = replace(store.manifest, config=config.tree())
            store.files.write("run.json", seal(manifest, store.keys.hash_key))
            yield place


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class MethodResult:
    """What one method did about a scenario's requests. seconds: of compute"""

    method: str
    passes: float
    seconds: float
    exactness: str
    answers: PredictionSummary
    receipts: tuple[Receipt, ...] = ()
    first_accuracy: float | None = None
    """On the test set, after the first of the requests; None where that is not measured."""
    repaired_s: float | None = None
    """Median seconds from a request's receipt until the repaired generation was published."""

    @property
    def forgotten_s(self) -> float | None:
        """Median seconds from a request's receipt until all that is served was trained without its samples, or patched."""
        return _median_seconds([(one, one.rewound_at or one.published_at) for one in self.receipts])


def compare(
    bench: ComparisonSetup,
    requests: Requests,
    methods: Sequence[Method] = STRATEGIES,
    announce: Callable[[str], None] = lambda _method: None,
) -> list[MethodResult]:
    """Honour the requests, one after the other, with each method and each baseline. announce: told what is at work"""
    trials: dict[str, Callable[[], MethodResult]] = {
        method.name: partial(revoke_with, method, bench, requests) for method in methods
    }
    trials |= {
        SCRATCH: partial(train_from_scratch, bench, requests),
        CONTROL: partial(fine_tune_control, bench, requests),
    }
    done = []
    for name, try_it in trials.items():
        announce(name)
        done.append(try_it())
    return done


def revoke_with(method: Method, bench: ComparisonSetup, requests: Requests, *, together: int = 1) -> MethodResult:
    """On a copy of the trained run. together: how many requests come at a time; a remedy that serves several counts once"""
    asked = [Revocation(ids=tuple(ids), strategy=method.strategy, boundary=method.boundary) for ids in requests]
    with bench.copy_of_base(method.unlearning) as place, open_run(place) as run:
        run.warm_up()
        receipts = run.revoke_together(asked[:together])
        first_accuracy = bench.test_accuracy(run.predict)
        for start in range(together, len(asked), together):
            receipts += run.revoke_together(asked[start : start + together])
        remedies = {part.command_id: part for receipt in receipts for part in receipt.shards}.values()
        is_exact = all(receipt.exactness is Exactness.EXACT for receipt in receipts)
        return MethodResult(
            method=method.name,
            passes=sum(remedy.passes for remedy in remedies),
            seconds=sum(remedy.seconds for remedy in remedies),
            exactness=Exactness.EXACT if is_exact else Exactness.APPROXIMATE,
            answers=bench.ask(run.predict, all_of(requests)),
            receipts=tuple(receipts),
            first_accuracy=first_accuracy,
            repaired_s=_median_seconds([(one, one.published_at) for one in receipts]),
        )


def train_from_scratch(bench: ComparisonSetup, requests: Requests, *, seed: int | None = None) -> MethodResult:
    """The retrained oracle. Trained once, without all the samples; each request would cost as much.

    seed: another than the run's: how far one oracle is from another is what no method can be blamed for
    """
    partition = replace(bench.config.partition, seed=bench.config.partition.seed if seed is None else seed)
    config = replace(bench.config, partition=partition)
    place = bench.scratch / uuid4().hex
    with train(config, str(place), exclude=all_of(requests)) as run:
        answers = bench.ask(run.predict, all_of(requests))
        trial = MethodResult(
            method=SCRATCH,
            passes=run.training.passes * len(requests),
            seconds=run.training.compute_seconds * len(requests),
            exactness=Exactness.EXACT,
            answers=answers,
            first_accuracy=answers.test_accuracy if len(requests) == 1 else None,
            repaired_s=run.training.seconds,
        )
    shutil.rmtree(place)
    return trial


def fine_tune_control(bench: ComparisonSetup, requests: Requests) -> MethodResult:
    """The control that subtracts nothing: its accuracy on the forget set shows that it forgets nothing."""
    store = RunStore(bench.base)
    each = [negative_control(store, ids) for ids in requests]
    together = negative_control(store, all_of(requests)) if len(requests) > 1 else each[0]
    return MethodResult(
        method=CONTROL,
        passes=sum(control.passes for control in each),
        seconds=sum(control.seconds for control in each),
        exactness="no forgetting",
        answers=bench.ask(together.predict, all_of(requests)),
    )


def all_of(requests: Requests) -> list[SampleId]:
    return [sample_id for ids in requests for sample_id in ids]


def _median_seconds(moments: Sequence[tuple[Receipt, Any]]) -> float | None:
    """From each request's receipt to a moment. returns: None where there is none"""
    seconds = [(at - receipt.received_at).total_seconds() for receipt, at in moments if at is not None]
    return median(seconds) if seconds else None


def rewound_generation(store: RunStore, sample_ids: Sequence[SampleId]) -> Generation:
    """The generation that accepting a request of these samples would publish; nothing is published.

    Raises UnknownSamples.
    """
    current = store.current()
    index = SampleIndex.read(store, [lineage.table for lineage in current.lineages])
    rows = index.find(sample_ids)
    unknown = [str(sample_id) for sample_id, row in zip(sample_ids, rows, strict=True) if row < 0]
    if unknown:
        raise UnknownSamples(unknown[:3], len(unknown))
    earliest: dict[int, int] = {}
    for shard, position in zip(index.shards[rows].tolist(), index.slices[rows].tolist(), strict=True):
        earliest[shard] = min(position, earliest.get(shard, position))
    return replace(
        current,
        constituents=tuple(
            constituent(lineage, pending_from=earliest.get(lineage.shard), on_accept=OnAccept.REWIND)
            for lineage in current.lineages
        ),
    )
