"""The error of a call whose coordinator was lost is marked with what the journal has of it."""

import asyncio
from typing import Any

import pytest

from raymu.core.records import SampleId
from raymu.errors import CoordinatorLost, unfinished_requests
from raymu.service.coordinator.calls import Call, Revoke, Settle, Submit
from raymu.service.coordinator.unanswered import mark_unanswered
from raymu.service.requests.revocation import Revocation
from tests.support.trained_runs import TrainedRun, TrainedRunFactory


def of(*ids: SampleId) -> tuple[Revocation, ...]:
    return tuple(Revocation(ids=(sample_id,)) for sample_id in ids)


def marked(run: TrainedRun, call: Call[Any], *, accepted: tuple[Revocation, ...], is_own: bool = False) -> object:
    """Return the mark of a call during which these requests were accepted, before its coordinator was lost."""
    before, error = run.store.position(), CoordinatorLost("its node is gone")
    results = asyncio.run(run.coordinator.accept(accepted)) if accepted else []
    mark_unanswered(error, run.store, call, before, is_own=is_own)
    marks = unfinished_requests(error)
    return None if marks is None else [result.request_id in marks for result in results] or marks


@pytest.mark.parametrize("kind", [Revoke, Submit])
def test_requests_that_were_accepted_are_named(trained_run: TrainedRunFactory, kind: type[Revoke | Submit]) -> None:
    run = trained_run()
    first, second, third, other = run.ids()[:4]
    assert marked(run, kind(revocations=of(first)), accepted=of(first, other)) == [True, False]
    assert marked(run, kind(revocations=of(second, third)), accepted=of(second)) == [True]
    assert marked(run, kind(revocations=of(third)), accepted=()) is None
    assert marked(run, kind(revocations=of(first)), accepted=()) is None  # an earlier call accepted it
    assert marked(run, kind(revocations=of(f" {third}.0 ")), accepted=of(third)) == [True]


def test_an_own_coordinator_accepts_for_nobody_else(trained_run: TrainedRunFactory) -> None:
    run = trained_run()
    first, second = run.ids()[:2]
    spelled_otherwise = Revoke(revocations=of(f" {first} "))
    assert marked(run, spelled_otherwise, accepted=of(first), is_own=True) == [True]
    assert marked(run, spelled_otherwise, accepted=of(second)) is None


def test_another_call_is_marked_if_it_wrote_anything(trained_run: TrainedRunFactory) -> None:
    run = trained_run()
    assert marked(run, Settle(), accepted=()) is None
    assert marked(run, Settle(), accepted=of(run.ids()[0])) == [False]
