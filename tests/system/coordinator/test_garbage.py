"""Garbage is deleted at first and after a failure, and never while a worker is running."""

import asyncio

import pytest

from raymu.service.coordinator.coordinator import utc_now
from raymu.service.coordinator.garbage import GarbageCollector
from raymu.service.coordinator.publisher import Publisher
from raymu.service.coordinator.session import Session
from raymu.service.history import replay
from tests.support.coordinated_run import lineage_of
from tests.support.trained_runs import TrainedRunFactory


def test_garbage_is_collected_at_first_and_after_a_failure_once_no_worker_is_running(
    trained_run: TrainedRunFactory,
) -> None:
    run = trained_run(samples={"samples": 40})
    serving = run.location / lineage_of(run.location, 0).serving.file.path
    stray = serving.with_name("stage-0-0123456789abcdef.safetensors")

    async def collect(session: Session, garbage: GarbageCollector) -> None:
        stray.touch()
        async with garbage.working_on(0):
            await garbage.collect_if_due()
        assert stray.exists()
        await garbage.collect_if_due()
        assert (stray.exists(), serving.exists()) == (False, True)
        stray.touch()
        await garbage.collect_if_due()
        assert stray.exists(), "nothing has failed since"
        with pytest.raises(OSError, match="full"), garbage.due_on_error():
            raise OSError("the disk is full")
        await garbage.collect_if_due()
        assert not stray.exists()
        await session.leave()

    session = Session(run.store, clock=utc_now)
    history = replay(session.journal, session.store.manifest)
    garbage = GarbageCollector(session, Publisher(session, published=history.published), history.board)
    asyncio.run(collect(session, garbage))
