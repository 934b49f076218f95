"""A request that became exact only after its due date is named wherever its end is reported."""

import asyncio
from datetime import UTC, datetime, timedelta

from raymu.console.run_tables import show_settlement, show_status
from raymu.console.screen import Screen
from raymu.service.coordinator.coordinator import Coordinator
from raymu.service.requests.revocation import Revocation
from raymu.service.shard.fleet import LocalFleet
from raymu.service.shard.messages import no_progress
from raymu.service.status import status
from tests.support.trained_runs import TrainedRunFactory


def test_settle_and_status_say_that_a_deadline_was_missed(trained_run: TrainedRunFactory, capsys: object) -> None:
    run = trained_run()
    start = datetime.now(UTC) - timedelta(days=3)
    times = iter(range(10**6))
    early = Coordinator(run.store, LocalFleet(run.store), clock=lambda: start + timedelta(milliseconds=next(times)))
    due = start + timedelta(days=1)
    missed, kept = (Revocation(ids=(run.ids(shard=0)[at],), strategy="dpus") for at in (0, 1))
    [late, _] = asyncio.run(early.revoke([Revocation(ids=missed.ids, strategy="dpus", due=due), kept], no_progress))
    before = status(run.store)
    assert (before.requests.missed, before.requests.overdue) == (1, 1)
    show_status(Screen(), before)
    printed = capsys.readouterr().out  # type: ignore[attr-defined]
    assert f"run {run.store.location.rpartition('/')[2]}, id {run.store.manifest.run_id}, generation" in printed
    assert "1 request overdue: run `raymu settle` now" in printed
    result = asyncio.run(run.open().settle(no_progress))
    assert (len(result.request_ids), result.missed) == (2, (late.request_id,))
    show_settlement(Screen(), result)
    show_status(Screen(), status(run.store))
    shown = " ".join(capsys.readouterr().out.split())  # type: ignore[attr-defined]
    assert f"1 request of these became exact only after the due date: {late.request_id}" in shown
    assert "1 request not exact when due" in shown
