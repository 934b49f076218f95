"""Groups of deletions: forgetting is done at once, and the repaired shards vote again together."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from raymu.core.receipt import RequestStage
from raymu.core.records import SampleId, ShardState
from raymu.core.verdict import Verdict
from raymu.errors import ConfigInvalid
from raymu.service.coordinator.background import BackgroundCoordinator
from raymu.service.requests.revocation import Revocation
from raymu.service.shard.messages import no_progress
from raymu.service.status import receipts, status
from raymu.service.verify.verify import verify
from raymu.service.waiting_group import GroupWait, group_waits
from raymu.store.run import RunStore
from tests.support.coordinated_run import constituent_of, ids_at, journal_events, opened, raw_ids_in_journal
from tests.support.examples import create_run, make_config, write_samples

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def test_a_deletion_is_exact_and_purged_while_its_shard_waits_for_the_group(tmp_path: Path) -> None:
    run, ids = grouped_run(tmp_path, at_least=2)
    with opened(run, clock=lambda: NOW) as coordinated:
        receipt = coordinated.revoke([ids[0][-1]], strategy="sisa")
    assert (receipt.stage, receipt.is_exact, receipt.due_met) == (RequestStage.SETTLED, True, True)
    assert raw_ids_in_journal(run) == 0
    served = constituent_of(run, 0)
    assert served.state is ShardState.REWOUND
    assert served.checkpoint in RunStore(str(run)).current().lineages[0].checkpoints
    waiting = status(RunStore(str(run))).group
    assert waiting
    assert (waiting.requests, waiting.at_least, waiting.shards) == (1, 2, (0,))
    assert waiting.due_at == NOW + timedelta(hours=1)
    assert (waiting.request_ids, waiting.further_requests, waiting.abstaining) == ((receipt.request_id,), 1, ())
    waits = group_waits(RunStore(str(run)), [receipt.request_id, "another"])
    wait = GroupWait(further_requests=1, visible_by=waiting.due_at, rewound_shards=1, abstaining_shards=0)
    assert waits == {receipt.request_id: wait}
    assert str(wait) == (
        "acknowledged and forgotten, with 1 shard rewound meanwhile. The visible change waits for 1 further repaired "
        "request, or until 2026-03-01 13:00 UTC"
    )
    assert verify(RunStore(str(run)), no_progress, replay=[0, 1]).verdict is Verdict.PASS
    with opened(run, clock=lambda: NOW) as coordinated:  # another process, in the middle of the group
        coordinated.revoke([ids[1][-1]], strategy="sisa")
    assert [constituent_of(run, shard).state for shard in (0, 1)] == [ShardState.EXACT] * 2
    assert status(RunStore(str(run))).group is None
    assert group_waits(RunStore(str(run)), [receipt.request_id]) == {}
    assert verify(RunStore(str(run)), no_progress, replay=[0, 1]).verdict is Verdict.PASS


def test_settling_makes_a_group_visible_after_its_time_or_on_demand(tmp_path: Path) -> None:
    run, ids = grouped_run(tmp_path, at_least=9)
    clock = [NOW]
    with opened(run, clock=lambda: clock[0]) as coordinated:
        coordinated.revoke([ids[0][-1]], strategy="dpus")
        coordinated.settle()  # retrains what was patched, which nobody sees yet
        assert receipts(RunStore(str(run)))[0].is_exact
        assert constituent_of(run, 0).state is ShardState.REWOUND
        clock[0] += timedelta(hours=1)
        coordinated.settle()
        assert constituent_of(run, 0).state is ShardState.EXACT
        coordinated.revoke([ids[1][-1]], strategy="sisa")
        assert constituent_of(run, 1).state is ShardState.REWOUND
        result = asyncio.run(coordinated.coordinator.settle(no_progress, publish=True))
    assert constituent_of(run, 1).state is ShardState.EXACT
    assert result.generation == RunStore(str(run)).current().number
    assert RunStore(str(run)).current().cause == "release"
    assert verify(RunStore(str(run)), no_progress, replay=[0, 1]).verdict is Verdict.PASS


def test_a_service_makes_a_group_visible_by_itself(tmp_path: Path) -> None:
    run, ids = grouped_run(tmp_path, at_least=9, every="1s")
    store = RunStore(str(run))

    async def serve() -> list[ShardState]:
        background = BackgroundCoordinator(str(run), trust=store.trust)
        states = []
        try:
            await background.accept([Revocation(ids=(ids[0][-1],), strategy="sisa")])
            await background.wait_until_idle()
            states.append(constituent_of(run, 0).state)
            await background.do_due_work()
            states.append(constituent_of(run, 0).state)
            await asyncio.sleep(1.0)
            await background.do_due_work()
            states.append(constituent_of(run, 0).state)
        finally:
            await background.close()
        return states

    first, *_, last = asyncio.run(serve())
    assert first is ShardState.REWOUND
    assert last is ShardState.EXACT
    assert [event.kind for event in journal_events(run)].count("released") == 1


def test_a_setting_that_serves_old_states_while_a_group_waits_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigInvalid, match="publish needs on_accept rewind or abstain"):
        make_config(tmp_path / "all.parquet", unlearning={"on_accept": "keep", "publish": {"at_least": 2}})
    with pytest.raises(ConfigInvalid, match="not a duration; write 7d, 12h, 30m or 45s"):
        make_config(tmp_path / "all.parquet", unlearning={"publish": {"at_least": 2, "every": "soon"}})


def grouped_run(folder: Path, *, at_least: int, every: str = "1h") -> tuple[Path, dict[int, list[SampleId]]]:
    """Train a run that groups deletions. Returns it with the ids of each shard's last slice."""
    write_samples(folder / "all.parquet", samples=120)
    config: Any = make_config(
        folder / "all.parquet",
        training={"epochs": 2},
        unlearning={"publish": {"at_least": at_least, "every": every}},
    )
    create_run(config, folder / "run")
    last = config.partition.slices - 1
    return folder / "run", {shard: ids_at(config, shard=shard, slice_index=last) for shard in (0, 1)}
