"""A run whose process was killed at any point is never called wrong, and what a finding names finishes it."""

import asyncio
import shutil
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from raymu.config.unlearning import Strategy
from raymu.core.events import DamageFound
from raymu.core.verdict import Finding, Verdict
from raymu.service.coordinator.coordinator import Coordinator
from raymu.service.ingest import prepare_run
from raymu.service.requests.revocation import Revocation
from raymu.service.shard.fleet import LocalFleet
from raymu.service.shard.messages import no_progress
from raymu.service.verify.verify import Verification, verify
from raymu.store.run import RunStore
from tests.support.coordinated_run import ids_at, journal_events, lineage_of, opened
from tests.support.examples import create_run, make_config, write_samples
from tests.support.faults import FaultyDisk, fail, in_child, kill

pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")

PARTS = 4
"""Each part kills at every fourth change. The first part runs on every change of the code, the others nightly."""


class Submission:
    """A trained run, and requests of which three at a time are one commit."""

    def __init__(self, folder: Path) -> None:
        write_samples(folder / "all.parquet", samples=60)
        config = make_config(
            folder / "all.parquet",
            model={"name": "logistic"},
            training={"epochs": 2},
            partition={"shards": 2, "slices": 2},
        )
        self.trained = folder / "trained"
        create_run(config, self.trained)
        ids = [sample_id for shard in (0, 1) for sample_id in ids_at(config, shard=shard)[:4]]
        strategies = ("sisa", "dpus") * 4
        self.revocations = [
            Revocation(ids=(sample_id,), strategy=strategy) for sample_id, strategy in zip(ids, strategies, strict=True)
        ]

    def send(self, location: Path, disk: FaultyDisk) -> None:
        """Submit the requests, settle, and close."""
        with disk.counting_commits():
            store = RunStore(str(location), disk.files(str(location)))
            coordinator = Coordinator(store, LocalFleet(store), requests_per_commit=3)
            asyncio.run(coordinator.submit(self.revocations, no_progress))
            asyncio.run(coordinator.settle(no_progress))
            asyncio.run(coordinator.close())


@pytest.fixture(scope="module")
def submission(tmp_path_factory: pytest.TempPathFactory) -> Submission:
    return Submission(tmp_path_factory.mktemp("submission"))


@pytest.mark.parametrize("part", [0, *(pytest.param(part, marks=pytest.mark.nightly) for part in range(1, PARTS))])
def test_a_submission_that_was_killed_is_inconclusive_until_it_is_settled(
    submission: Submission, tmp_path: Path, part: int
) -> None:
    location, disk = tmp_path / "run", FaultyDisk(0, fail)
    shutil.copytree(submission.trained, location)
    submission.send(location, disk)
    verdicts = set()
    for at in disk.changes[part::PARTS]:
        shutil.rmtree(location)
        shutil.copytree(submission.trained, location)
        in_child(partial(submission.send, location, FaultyDisk(at, kill)))
        killed = verify(RunStore(str(location)), no_progress)
        verdicts.add(killed.verdict)
        assert killed.verdict is not Verdict.FAIL, (at, said(killed))
        if killed.verdict is Verdict.INCONCLUSIVE:
            assert "`raymu settle`" in said(killed), (at, said(killed))
        with opened(location) as run:
            run.settle()
        finished = verify(RunStore(str(location)), no_progress)
        assert finished.verdict is Verdict.PASS, (at, said(finished))
    assert Verdict.INCONCLUSIVE in verdicts


class Work:
    """Calls on a coordinator, and the run that they begin with."""

    def __init__(self, base: Path, call: Callable[[Coordinator], Coroutine[Any, Any, object]]) -> None:
        self.base, self._call = base, call

    def do(self, location: Path, disk: FaultyDisk) -> None:
        with disk.counting_commits():
            store = RunStore(str(location), disk.files(str(location)))
            coordinator = Coordinator(store, LocalFleet(store))
            asyncio.run(self._call(coordinator))
            asyncio.run(coordinator.close())


@pytest.fixture(scope="module")
def works(submission: Submission, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Work]:
    folder = tmp_path_factory.mktemp("works")
    config = RunStore(str(submission.trained)).config
    prepare_run(config, str(folder / "untrained")).write()
    for name in ("damaged", "patched"):
        shutil.copytree(submission.trained, folder / name)
    with opened(folder / "patched") as run:
        run.revoke(submission.revocations[0].ids, strategy="dpus")
    (folder / "damaged" / lineage_of(folder / "damaged", 0).serving.file.path).unlink()
    unlearning = replace(config.unlearning, strategy=Strategy.SISA)
    return {
        "train": Work(folder / "untrained", lambda run: run.train(no_progress)),
        "settle": Work(folder / "patched", lambda run: run.settle(no_progress)),
        "rebuild": Work(folder / "damaged", lambda run: run.rebuild(no_progress)),
        "configure": Work(submission.trained, lambda run: run.configure(unlearning)),
        "close": Work(submission.trained, lambda run: run.require_current()),
    }


@pytest.mark.parametrize("part", [0, *(pytest.param(part, marks=pytest.mark.nightly) for part in range(1, 2 * PARTS))])
@pytest.mark.parametrize("name", ["train", "settle", "rebuild", "configure", "close"])
def test_what_verify_names_finishes_any_call_that_was_killed(
    works: Mapping[str, Work], tmp_path: Path, name: str, part: int
) -> None:
    work, location, disk = works[name], tmp_path / "run", FaultyDisk(0, fail)
    shutil.copytree(work.base, location)
    before = {finding.kind for finding in findings(location)}
    work.do(location, disk)
    for at in disk.changes[part :: 2 * PARTS]:
        shutil.rmtree(location)
        shutil.copytree(work.base, location)
        assert not in_child(partial(work.do, location, FaultyDisk(at, kill)))
        for finding in findings(location):
            is_known = finding.kind in before and not is_restoring(location)
            assert finding.verdict is Verdict.INCONCLUSIVE or is_known, (at, finding)
            assert "`raymu settle`" in finding.what or finding.kind in before, (at, finding)
        with opened(location) as run:
            if any("`raymu rebuild`" in finding.what for finding in findings(location)):
                asyncio.run(run.coordinator.rebuild(no_progress))
            run.settle()
        assert not findings(location), at


def is_restoring(location: Path) -> bool:
    return any(isinstance(event, DamageFound) for event in journal_events(location))


def findings(location: Path) -> list[Finding]:
    verification = verify(RunStore(str(location)), no_progress)
    return [finding for check in verification.checks for finding in check.findings]


def said(verification: Verification) -> str:
    return "; ".join(finding.what for check in verification.checks for finding in check.findings)
