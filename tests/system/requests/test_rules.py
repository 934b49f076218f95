"""Requests that are refused or repeated: nothing is accepted, and nothing changes."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from raymu.errors import (
    IdempotencyConflict,
    RaymuError,
    RequestInvalid,
    SamplesRevoked,
    SeveralFaults,
    ShardRepairFailed,
    UnknownOwner,
    UnknownSamples,
)
from raymu.service.pseudonyms import pseudonym
from raymu.service.requests.admission_rules import DUE_AFTER
from raymu.service.requests.revocation import Ignored, Revocation
from raymu.service.shard.messages import no_progress
from tests.support.coordinated_run import history_of, traces
from tests.support.examples import revoke, write_samples
from tests.support.scripted_fleet import ScriptedFleet
from tests.support.trained_runs import TrainedRun, TrainedRunFactory


@pytest.fixture
def run(trained_run: TrainedRunFactory) -> TrainedRun:
    return trained_run(data={"owner": "owner"})


REFUSED: dict[str, tuple[dict[str, Any], type[RaymuError], str]] = {
    "an unknown id": (
        {"ids": (1000, 5)},
        UnknownSamples,
        "1 unknown sample id .5.: the run never held them; leave them out, or add --ignore-unknown; nothing was changed",
    ),
    "an unknown id alone": ({"ids": (5,)}, UnknownSamples, "the run never held them; nothing was changed"),
    "many unknown ids": ({"ids": (1, 2, 3, 4)}, UnknownSamples, "4 unknown sample ids .1, 2, 3, ..."),
    "an unknown owner": (
        {"owner": "nobody"},
        UnknownOwner,
        "no sample of owner 'nobody': the run never held one, or all",
    ),
    "an id named twice": ({"ids": (1000, "1000")}, RequestInvalid, "names 1 id twice .1000."),
    "an id of another kind": ({"ids": ("anna",)}, RequestInvalid, "'anna' is not an id of this run"),
    "nothing": ({}, RequestInvalid, "needs one of them"),
    "ids and an owner": ({"ids": (1000,), "owner": "owner-1"}, RequestInvalid, "and not both"),
    "an unknown strategy": ({"ids": (1000,), "strategy": "hope"}, RequestInvalid, "'hope' is not a strategy"),
    "an unreadable boundary": ({"ids": (1000,), "boundary": "soon"}, RequestInvalid, "not of the form 0.35"),
    "an endless boundary": ({"ids": (1000,), "boundary": "infs"}, RequestInvalid, "not a finite number"),
    "a revoked owner and an unreadable boundary": (
        {"owner": "nobody", "boundary": "soon"},
        RequestInvalid,
        "'soon' is not of the form",
    ),
    "an unknown id and an id named twice": (
        {"ids": (5, 1000, 1000)},
        SeveralFaults,
        "names 1 id twice .1000.; name each sample once, or add .*; 1 unknown sample id .5.: the run never held them; leave",
    ),
    "a boolean for an id": ({"ids": (True,)}, RequestInvalid, "True is not an id of this run"),
    "no strategy at all": ({"ids": (1000,), "strategy": ""}, RequestInvalid, "'' is not a strategy"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_refused_request_changes_nothing(run: TrainedRun, case: str) -> None:
    fields, error, message = REFUSED[case]
    ids = run.ids()
    before = history_of(run.location)
    with pytest.raises(error, match=message):
        asyncio.run(run.coordinator.revoke([Revocation(ids=(ids[-1],)), Revocation(**fields)], no_progress))
    assert history_of(run.location) == before


def test_a_revoked_id_is_refused_with_the_request_that_revoked_it(run: TrainedRun) -> None:
    ids = run.ids()
    earlier = run.revoke(ids[:2], strategy="sisa")
    before = history_of(run.location)
    with pytest.raises(SamplesRevoked) as refusal:
        run.revoke(ids[1:3])
    assert (refusal.value.count, refusal.value.request_ids) == (1, (earlier.request_id,))
    assert history_of(run.location) == before


def test_one_sample_in_two_requests_submitted_together_is_refused(run: TrainedRun) -> None:
    ids = run.ids()
    before = history_of(run.location)
    with pytest.raises(RequestInvalid, match="more than one of these requests names 1 sample"):
        asyncio.run(
            run.coordinator.revoke([Revocation(ids=tuple(ids[:2])), Revocation(ids=tuple(ids[1:3]))], no_progress)
        )
    assert history_of(run.location) == before


def test_the_same_key_and_payload_give_the_same_receipt(run: TrainedRun) -> None:
    ids = run.ids()
    first = run.revoke(ids[:3], key="k", strategy="dpus", boundary=0.5)
    before = history_of(run.location)
    assert (
        run.revoke([str(sample_id) for sample_id in reversed(ids[:3])], key="k", strategy="dpus", boundary="0.5")
        == first
    )
    assert history_of(run.location) == before
    reopened = run.open(ScriptedFleet(run.store, fail_after=0))
    assert revoke(reopened, ids[:3], key="k", strategy="dpus", boundary=0.5) == first


@pytest.mark.parametrize("other", [{"ids": (1000,)}, {"strategy": "sisa"}, {"boundary": 0.1}, {"owner": "owner-1"}])
def test_the_same_key_with_another_payload_is_a_conflict(run: TrainedRun, other: dict[str, Any]) -> None:
    ids = run.ids()
    first = run.revoke(ids[2:4], key="k")
    before = history_of(run.location)
    fields = {"ids": () if "owner" in other else tuple(ids[2:4]), "key": "k", **other}
    with pytest.raises(IdempotencyConflict) as refusal:
        asyncio.run(run.coordinator.revoke([Revocation(**fields)], no_progress))
    assert (refusal.value.key, refusal.value.request_id) == ("k", first.request_id)
    assert history_of(run.location) == before


def test_one_key_for_two_requests_submitted_together_is_refused(run: TrainedRun) -> None:
    ids = run.ids()
    before = history_of(run.location)
    with pytest.raises(RequestInvalid, match="key 'k' is given to more than one"):
        asyncio.run(
            run.coordinator.revoke(
                [Revocation(ids=(ids[0],), key="k"), Revocation(ids=(ids[1],), key="k")], no_progress
            )
        )
    assert history_of(run.location) == before


def test_an_owner_names_the_samples_that_are_left(tmp_path: Path, trained_run: TrainedRunFactory) -> None:
    table = write_samples(tmp_path / "all.parquet")
    rows = zip(table["id"].to_pylist(), table["owner"].to_pylist(), strict=True)
    owned = [sample_id for sample_id, owner in rows if owner == "owner-3"]
    run = trained_run(data={"owner": "owner"}, partition={"policy": "owner"})
    run.revoke(owned[:1], strategy="sisa")
    receipt = run.revoke(owner="owner-3", strategy="sisa")
    assert receipt.samples == len(owned) - 1
    assert len(receipt.shards) == 1
    with pytest.raises(SamplesRevoked, match=receipt.request_id):
        run.revoke(owner="owner-3")
    with pytest.raises(SamplesRevoked):
        run.revoke(owned[1:])


def test_an_owner_whose_samples_all_wait_to_be_forgotten_is_refused(
    tmp_path: Path, trained_run: TrainedRunFactory
) -> None:
    table = write_samples(tmp_path / "all.parquet")
    rows = zip(table["id"].to_pylist(), table["owner"].to_pylist(), strict=True)
    owned = [sample_id for sample_id, owner in rows if owner == "owner-3"]
    run = trained_run(data={"owner": "owner"}, partition={"policy": "owner"})
    broken = run.open(ScriptedFleet(run.store, fail_after=0))
    with pytest.raises(ShardRepairFailed):
        revoke(broken, owned)
    before = history_of(run.location)
    with pytest.raises(SamplesRevoked):
        revoke(broken, owner="owner-3")
    assert history_of(run.location) == before


def test_an_owner_whose_samples_are_all_forgotten_is_not_called_unknown(tmp_path: Path, run: TrainedRun) -> None:
    """The run has kept no names, so it can tell such an owner from a stranger no more, and must not try."""
    table = write_samples(tmp_path / "all.parquet")
    rows = zip(table["id"].to_pylist(), table["owner"].to_pylist(), strict=True)
    owned = [sample_id for sample_id, owner in rows if owner == "owner-3"]
    run.revoke(owned, strategy="sisa")
    before = history_of(run.location)
    with pytest.raises(UnknownOwner, match="or all are revoked, each by its id, and forgotten"):
        run.revoke(owner="owner-3")
    assert history_of(run.location) == before


def test_a_run_without_owners_says_so(trained_run: TrainedRunFactory) -> None:
    run = trained_run()
    with pytest.raises(RequestInvalid, match=r"trained without data\.owner"):
        run.revoke(owner="owner-1")


def test_a_request_is_due_in_a_month_unless_it_names_a_time(run: TrainedRun) -> None:
    ids = run.ids()
    receipt = run.revoke(ids[:1])
    assert receipt.due_at == receipt.received_at + DUE_AFTER
    due = datetime(2030, 1, 1, tzinfo=UTC)
    assert run.revoke(ids[1:2], due=due).due_at == due


def test_an_overdue_request_is_accepted_and_shown_overdue(run: TrainedRun) -> None:
    past = datetime(2020, 1, 1, tzinfo=UTC)
    exact, patched = (
        run.revoke([each], due=past, strategy=name) for each, name in zip(run.ids(), ("sisa", "dpus"), strict=False)
    )
    assert (exact.due_at, exact.due_met, exact.came_overdue, exact.is_overdue) == (past, False, True, False)
    assert (patched.due_met, patched.came_overdue, patched.is_overdue) == (False, True, True)
    deadline, *_ = run.coordinator.deadlines()
    assert (deadline.request_id, deadline.is_late) == (patched.request_id, True)
    run.settle()
    assert not run.coordinator.receipt(patched.request_id).is_overdue


def test_what_is_unknown_revoked_or_named_twice_is_left_out_if_the_request_says_so(run: TrainedRun) -> None:
    ids = run.ids()
    earlier = run.revoke(ids[:2], strategy="sisa")
    named = (ids[0], 5, str(ids[2]), ids[2], "anna", ids[1])
    with pytest.raises(SeveralFaults) as refusal:
        asyncio.run(run.coordinator.revoke([Revocation(ids=named)], no_progress))
    assert refusal.value.request_ids == (earlier.request_id,)
    revocations = [Revocation(ids=named, ignore_unknown=True, key="k")]
    done = asyncio.run(run.coordinator.revoke_with_results(revocations, no_progress))
    ignored = Ignored(revoked=2, request_ids=(earlier.request_id,), unknown=2, unknown_shown=("5", "anna"), repeated=1)
    assert done.results[0].ignored == ignored
    assert done.receipts[0].samples == 1
    again = asyncio.run(run.coordinator.revoke_with_results(revocations, no_progress))
    assert again.receipts == done.receipts  # by its key
    with pytest.raises(SamplesRevoked):  # nothing is left
        asyncio.run(run.coordinator.revoke([Revocation(ids=(ids[0], ids[2]), ignore_unknown=True)], no_progress))


def test_the_answer_to_a_request_does_not_depend_on_the_order_of_its_ids(run: TrainedRun) -> None:
    ids = run.ids()
    run.revoke(ids[:2], strategy="sisa")
    named = (ids[0], 5, 6, 17, ids[3], ids[3], ids[1], 4)
    answers = set()
    for order in (named, named[::-1], (*named[3:], *named[:3])):
        with pytest.raises(SeveralFaults) as refusal:
            asyncio.run(run.coordinator.revoke([Revocation(ids=order)], no_progress))
        answers.add(str(refusal.value))
    assert len(answers) == 1


def test_text_that_names_an_integer_id_names_the_sample(run: TrainedRun) -> None:
    ids = run.ids()
    assert run.revoke([str(ids[0])]).samples == 1
    with pytest.raises(SamplesRevoked):
        run.revoke(ids[:1])
    run.settle()


def test_a_key_is_kept_as_a_hash_alone(run: TrainedRun) -> None:
    ids = run.ids()
    receipt = run.revoke(ids[:1], key="delete-alice@example.com", strategy="sisa")
    assert traces(run.location, "alice") == set()
    with pytest.raises(IdempotencyConflict, match=r"'delete-alice@example\.com' belongs to request"):
        run.revoke(ids[1:2], key="delete-alice@example.com")
    asyncio.run(run.coordinator.close())
    assert traces(run.location, "alice") == set()
    reopened = run.open()
    assert revoke(reopened, ids[:1], key="delete-alice@example.com", strategy="sisa") == receipt


def test_a_key_in_plain_text_in_an_old_journal_is_recognised(run: TrainedRun, monkeypatch: pytest.MonkeyPatch) -> None:
    def in_clear(name: str, key: bytes) -> str:
        return name.removeprefix("key/") if name.startswith("key/") else pseudonym(name, key)

    ids = run.ids()
    with monkeypatch.context() as earlier:
        earlier.setattr("raymu.service.requests.admission.pseudonym", in_clear)
        receipt = run.revoke(ids[:1], key="order 17", strategy="sisa")
    assert traces(run.location, "order 17")
    asyncio.run(run.coordinator.close())
    reopened = run.open()
    assert revoke(reopened, ids[:1], key="order 17", strategy="sisa") == receipt
    with pytest.raises(IdempotencyConflict):
        revoke(reopened, ids[1:2], key="order 17")
