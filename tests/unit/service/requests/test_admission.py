"""Many requests at once are judged like the same requests one after another."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime
from itertools import count
from typing import Any

import pytest
import sqlalchemy as sql
from hypothesis import given
from hypothesis import strategies as st

from raymu.core.events import RevocationsAccepted
from raymu.core.requests import RevocationRequest
from raymu.errors import IdempotencyConflict, RaymuError, SamplesRevoked, SeveralFaults
from raymu.service.history import replay
from raymu.service.ingest import prepare_run
from raymu.service.requests.admission import Admission
from raymu.service.requests.admission_rules import AdmissionResult, AdmittedRequest
from raymu.service.requests.revocation import Revocation
from raymu.store.journal.database import Database
from raymu.store.journal.journal import Journal
from raymu.store.run import RunStore
from tests.support.examples import make_config, write_samples

NOW = datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC)


def new_admission(store: RunStore, journal: Journal) -> Admission:
    return Admission(store, journal, replay(journal, store.manifest))


class AdmittedRun:
    """Accepts the requests that are admitted."""

    def __init__(self, store: RunStore, journal: Journal) -> None:
        self._journal, self._admission = journal, new_admission(store, journal)

    def results(self, revocations: Sequence[Revocation], *, group: int) -> list[object]:
        """Return the result of each request, with the index of a request in place of its random id."""
        results = [
            result
            for start in range(0, len(revocations), group)
            for result in self._accept(revocations[start : start + group])
        ]
        indices: dict[str, int] = {}
        for index, result in enumerate(results):
            if isinstance(result, AdmittedRequest):
                indices[result.request.request_id] = index
        return [_comparable(result, indices) for result in results]

    def _accept(self, revocations: Sequence[Revocation]) -> list[AdmissionResult]:
        results = self._admission.admit(revocations, now=NOW)
        resolved = [admission for admission in results if isinstance(admission, AdmittedRequest)]
        requests = tuple(admission.request for admission in resolved)
        self._journal.accept(
            RevocationsAccepted(at=NOW, requests=requests, generation=1),
            forget={admission.request.request_id: admission.forget for admission in resolved},
            hashes={request.request_id: request.hashes for request in requests},
        )
        return results


def _comparable(result: AdmissionResult | RaymuError, indices: dict[str, int]) -> object:
    match result:
        case AdmittedRequest(request=request, forget=forget, ignored=ignored):
            counts = ignored and (ignored.revoked, ignored.unknown_shown, ignored.repeated)
            return indices[request.request_id], request.forget, request.hashes, request.payload_sha256, forget, counts
        case RevocationRequest(request_id=request_id):
            return indices[request_id]
        case SamplesRevoked(count=many, request_ids=request_ids):
            return SamplesRevoked, many, sorted(indices[request_id] for request_id in request_ids)
        case IdempotencyConflict(key=key, request_id=request_id):
            return IdempotencyConflict, key, indices[request_id]
        case SeveralFaults(faults=faults):
            return [_comparable(fault, indices) for fault in faults]
        case _:
            return type(result), str(result)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> RunStore:
    folder = tmp_path_factory.mktemp("admission")
    write_samples(folder / "all.parquet", samples=40, owners=6)
    prepare_run(make_config(folder / "all.parquet", data={"owner": "owner"}), str(folder / "run")).write()
    return RunStore(str(folder / "run"))


@pytest.fixture(scope="module")
def journals(store: RunStore) -> Iterator[Iterator[Journal]]:
    """Empty journals, one after the other."""
    assert store.files.local is not None
    url = f"sqlite:///{store.files.local / 'journal.sqlite'}"
    with closing(Database(sql.make_url(url))) as database:

        def begin(number: int) -> Journal:
            journal = Journal(database, run=f"run {number}", key=store.keys.hash_key)
            journal.create()
            journal.take_over()
            return journal

        yield map(begin, count())


keys = st.none() | st.sampled_from(["k", "l"])
few_ids = st.lists(st.sampled_from([1000, 1007, 1014, "1021", 1028, 5, "anna"]), max_size=3).map(tuple)
requests = st.builds(
    Revocation,
    ids=few_ids,
    key=keys,
    strategy=st.sampled_from([None, "sisa", "hope"]),
    ignore_unknown=st.booleans(),
) | st.builds(Revocation, owner=st.sampled_from([f"owner-{number}" for number in range(4)] + ["nobody"]), key=keys)


@given(revocations=st.lists(requests, max_size=12), group=st.integers(2, 12))
def test_a_submission_is_answered_like_the_same_requests_one_after_another(
    store: RunStore, journals: Iterator[Journal], revocations: list[Revocation], group: int
) -> None:
    alone = AdmittedRun(store, next(journals)).results(revocations, group=1)
    assert AdmittedRun(store, next(journals)).results(revocations, group=group) == alone


def admit_single(store: RunStore, journal: Journal, **fields: Any) -> AdmissionResult:
    [result] = new_admission(store, journal).admit([Revocation(**fields)], now=NOW)
    return result


def test_a_refusal_keeps_no_references(store: RunStore, journals: Iterator[Journal]) -> None:
    refusal = admit_single(store, next(journals), ids=(5,))
    assert isinstance(refusal, RaymuError)
    assert refusal.__traceback__ is None


def test_an_owner_is_found_among_many(store: RunStore, journals: Iterator[Journal]) -> None:
    result = admit_single(store, next(journals), owner="owner-2")
    assert isinstance(result, AdmittedRequest)
    tables = [store.samples.read_table(table) for table in store.manifest.tables]
    owned = {
        shard: {
            sample_id
            for sample_id, owner in zip(table["id"].to_pylist(), table["owner"].to_pylist(), strict=True)
            if owner == "owner-2"
        }
        for shard, table in enumerate(tables)
    }
    assert {shard: set(ids) for shard, ids in result.forget.items()} == {
        shard: ids for shard, ids in owned.items() if ids
    }
