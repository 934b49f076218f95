"""Strategies side by side on one trained run, with the retrained oracle and the no-subtraction control beside them."""

import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from uuid import uuid4

import numpy as np
import numpy.typing as npt

from raymu.api import open_run, train
from raymu.config import Config
from raymu.core.receipt import Receipt
from raymu.core.records import Exactness, SampleId
from raymu.core.requests import Strategy
from raymu.learn.data import SampleTable, read_features, read_table
from raymu.service.control import fine_tune_only
from raymu.store.run import RunStore

SCRATCH, CONTROL = "from scratch", "control"

Requests = Sequence[Sequence[SampleId]]
Predict = Callable[[npt.NDArray[np.generic]], npt.NDArray[np.float32]]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Bench:
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
    def of(cls, config: Config, base: str, scratch: Path) -> "Bench":
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

    def on_forget_set(self, predict: Predict, ids: Sequence[SampleId]) -> tuple[float, float]:
        """returns: accuracy, and mean cross-entropy in nats"""
        rows = np.flatnonzero(np.isin(self.table.ids, ids))
        labels, probabilities = self.table.labels[rows], predict(self.table.features[rows])
        chosen = probabilities[np.arange(len(rows)), labels].astype(np.float64)
        return float((probabilities.argmax(axis=1) == labels).mean()), float(-np.log(chosen).mean())

    def copy_of_base(self) -> str:
        """A run of its own to revoke from: the trained one stays as it is."""
        place = tempfile.mkdtemp(dir=self.scratch)
        shutil.copytree(self.base, place, dirs_exist_ok=True)
        return place


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Trial:
    """What one method did about a scenario's requests."""

    method: str
    passes: float
    seconds: float
    exactness: str
    test_accuracy: float
    forget_accuracy: float
    forget_loss: float
    receipts: tuple[Receipt, ...] = ()
    first_accuracy: float | None = None
    """On the test set, after the first of the requests; None where that is not measured."""
    repaired_s: float | None = None


def compare(bench: Bench, requests: Requests, announce: Callable[[str], None] = lambda _method: None) -> list[Trial]:
    """Honour the requests, one after the other, with each strategy and each baseline. announce: told what is at work"""
    methods: dict[str, Callable[[], Trial]] = {
        strategy: partial(_revoke, bench, strategy, requests) for strategy in Strategy
    }
    methods |= {
        SCRATCH: partial(_train_from_scratch, bench, requests),
        CONTROL: partial(_fine_tune_only, bench, requests),
    }
    trials = []
    for method, try_it in methods.items():
        announce(method)
        trials.append(try_it())
    return trials


def _revoke(bench: Bench, strategy: Strategy, requests: Requests) -> Trial:
    with open_run(bench.copy_of_base()) as run:
        run.warm_up()
        first = run.revoke(requests[0], strategy=strategy)
        first_accuracy = bench.test_accuracy(run.predict)
        receipts = (first, *(run.revoke(ids, strategy=strategy) for ids in requests[1:]))
        accuracy, loss = bench.on_forget_set(run.predict, _all(requests))
        parts = [part for receipt in receipts for part in receipt.shards]
        is_exact = all(receipt.exactness is Exactness.EXACT for receipt in receipts)
        return Trial(
            method=strategy,
            passes=sum(part.passes for part in parts),
            seconds=sum(part.seconds for part in parts),
            exactness=Exactness.EXACT if is_exact else Exactness.APPROXIMATE,
            test_accuracy=bench.test_accuracy(run.predict),
            forget_accuracy=accuracy,
            forget_loss=loss,
            receipts=receipts,
            first_accuracy=first_accuracy,
            repaired_s=median(
                (one.published_at - one.received_at).total_seconds() for one in receipts if one.published_at
            ),
        )


def _train_from_scratch(bench: Bench, requests: Requests) -> Trial:
    """The retrained oracle. Trained once, without all the samples; each request would cost as much."""
    with train(bench.config, str(bench.scratch / uuid4().hex), exclude=_all(requests)) as run:
        accuracy, loss = bench.on_forget_set(run.predict, _all(requests))
        return Trial(
            method=SCRATCH,
            passes=run.training.passes * len(requests),
            seconds=run.training.compute_seconds * len(requests),
            exactness=Exactness.EXACT,
            test_accuracy=bench.test_accuracy(run.predict),
            forget_accuracy=accuracy,
            forget_loss=loss,
            first_accuracy=bench.test_accuracy(run.predict) if len(requests) == 1 else None,
            repaired_s=run.training.seconds,
        )


def _fine_tune_only(bench: Bench, requests: Requests) -> Trial:
    """The control that subtracts nothing: its accuracy on the forget set shows that it forgets nothing."""
    store = RunStore(bench.base)
    each = [fine_tune_only(store, ids) for ids in requests]
    together = fine_tune_only(store, _all(requests))
    accuracy, loss = bench.on_forget_set(together.predict, _all(requests))
    return Trial(
        method=CONTROL,
        passes=sum(control.passes for control in each),
        seconds=sum(control.seconds for control in each),
        exactness="no forgetting",
        test_accuracy=bench.test_accuracy(together.predict),
        forget_accuracy=accuracy,
        forget_loss=loss,
    )


def _all(requests: Requests) -> list[SampleId]:
    return [sample_id for ids in requests for sample_id in ids]
