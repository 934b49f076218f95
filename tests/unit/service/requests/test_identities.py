"""Ids and owners are found by any of their spellings, while the run holds them and after they are forgotten."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sql

from raymu.core.events import RevocationsAccepted
from raymu.core.records import SampleId
from raymu.data.tables import read_table
from raymu.errors import RequestInvalid, SamplesRevoked
from raymu.service.history import replay
from raymu.service.history_parts import sample_homes
from raymu.service.ingest import prepare_run
from raymu.service.requests.admission import Admission
from raymu.service.requests.admission_rules import AdmissionResult, AdmittedRequest
from raymu.service.requests.lookup import find_requests
from raymu.service.requests.revocation import Revocation
from raymu.service.requests.sample_index import SampleIndex
from raymu.service.shard.files import write_without
from raymu.service.shard_tables import shard_tables
from raymu.store.creation import create_run, write_new_shard
from raymu.store.journal.database import Database
from raymu.store.journal.journal import Journal
from raymu.store.run import RunStore
from tests.support.examples import make_config, write_samples

NOW = datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC)
FIRST, SECOND = UUID(int=0xABCDEF << 96), UUID(int=0xFEDCBA << 96)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> RunStore:
    folder = tmp_path_factory.mktemp("identities")
    table = write_samples(folder / "all.parquet", samples=40)
    ids = [FIRST.bytes, SECOND.bytes, *(UUID(int=number).bytes for number in range(38))]
    table = table.set_column(0, "id", pa.array(ids, type=pa.uuid()))
    owners = pa.array([7, 7, *([8] * 38)])
    pq.write_table(table.set_column(table.column_names.index("owner"), "owner", owners), folder / "all.parquet")
    prepare_run(make_config(folder / "all.parquet", data={"owner": "owner"}), str(folder / "run")).write()
    return RunStore(str(folder / "run"))


class Requests:
    """Admits requests, and commits those that can be accepted."""

    def __init__(self, store: RunStore, journal: Journal) -> None:
        self.journal, self._store, self._history = journal, store, replay(journal, store.manifest)
        self._admission = Admission(store, journal, self._history)

    def purge(self, sample_id: SampleId) -> None:
        """Let the samples of later requests be those without one."""
        store, board = self._store, self._history.board
        samples = [
            write_without(store, shard, board.samples_of(shard), [sample_id])
            for shard in range(store.config.partition.shards)
        ]
        self._admission = Admission(store, self.journal, self._history, SampleIndex(store, samples.__getitem__))

    def admit(self, **fields: Any) -> AdmissionResult:
        [result] = self._admission.admit([Revocation(**fields)], now=NOW)
        if isinstance(result, AdmittedRequest):
            request = result.request
            self.journal.accept(
                RevocationsAccepted(at=NOW, requests=(request,), generation=1),
                forget={request.request_id: result.forget},
                hashes={request.request_id: request.hashes},
            )
        return result


@pytest.fixture
def requests(store: RunStore, tmp_path: Path) -> Iterator[Requests]:
    with closing(Database(sql.make_url(f"sqlite:///{tmp_path}/journal.sqlite"))) as database:
        journal = Journal(database, run="run", key=store.keys.hash_key)
        journal.create()
        journal.take_over()
        yield Requests(store, journal)


SPELLINGS: list[object] = [
    FIRST,
    str(FIRST),
    str(FIRST).upper(),
    f"{{{FIRST}}}",
    FIRST.hex,
    FIRST.bytes,
    f" {FIRST} ",
]


@pytest.mark.parametrize("spelling", SPELLINGS, ids=str)
def test_a_uuid_is_found_and_known_as_revoked_in_every_spelling(requests: Requests, spelling: object) -> None:
    result = requests.admit(ids=(spelling,))
    assert isinstance(result, AdmittedRequest)
    assert list(result.forget.values()) == [(str(FIRST),)]
    for again in SPELLINGS:
        refusal = requests.admit(ids=(again,))
        assert isinstance(refusal, SamplesRevoked)
        assert refusal.request_ids == (result.request.request_id,)


def test_two_spellings_of_one_id_are_one_sample(requests: Requests) -> None:
    named = (str(FIRST), FIRST.hex, str(SECOND))
    assert isinstance(requests.admit(ids=named), RequestInvalid)
    result = requests.admit(ids=named, ignore_unknown=True)
    assert isinstance(result, AdmittedRequest)
    assert (result.request.samples, result.ignored and result.ignored.repeated) == (2, 1)


@pytest.mark.parametrize("owner", [7, "7", 7.0, " 7 "])
def test_an_owner_is_found_by_number_and_by_text(requests: Requests, owner: object) -> None:
    result = requests.admit(owner=owner)
    assert isinstance(result, AdmittedRequest)
    assert result.request.samples == 2
    assert isinstance(requests.admit(owner="7"), SamplesRevoked)


def test_a_request_is_found_by_any_spelling_of_what_it_revoked(
    store: RunStore, requests: Requests, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_id, by_owner = requests.admit(ids=(FIRST.hex,)), requests.admit(owner=7)
    assert isinstance(by_id, AdmittedRequest)
    assert isinstance(by_owner, AdmittedRequest)
    monkeypatch.setattr(RunStore, "journal", lambda _self, **_options: requests.journal)
    monkeypatch.setattr(requests.journal, "close", lambda: None)
    ids: list[Any] = [*SPELLINGS, str(SECOND), "nobody", None]
    owners: list[Any] = ["7", 7.0, "nobody"]
    request_ids = [each.request_id for each in find_requests(store, ids=ids, owners=owners)]
    first, second = by_id.request.request_id, by_owner.request.request_id
    assert request_ids == [*([first] * len(SPELLINGS)), *(second, None, None), *(second, second, None)]


PADDED = ("a", "a  ", "b  ", "URN:UUID:00000000-0000-0000-0000-000000000abc")


@pytest.fixture(scope="module")
def first_version(tmp_path_factory: pytest.TempPathFactory) -> RunStore:
    """A run whose ids have space around them, and other spellings, as version 0.1 kept them."""
    folder = tmp_path_factory.mktemp("padded")
    table = write_samples(folder / "all.parquet", samples=40)
    table = table.set_column(0, "id", pa.array([f"x{number}" for number in range(40)]))
    pq.write_table(table, folder / "all.parquet")
    config = make_config(folder / "all.parquet")
    prepared = prepare_run(config, str(folder / "run"))
    samples = read_table(str(folder / "all.parquet"), config.data)
    ids = samples.ids.copy()
    ids[: len(PADDED)] = PADDED
    padded = replace(samples, ids=ids)
    shards, slices = sample_homes(padded, config.partition)
    tables = enumerate(shard_tables(padded, shards, slices, config.partition))
    finished = (write_new_shard(prepared.store, shard, table, config) for shard, table in tables)
    create_run(prepared.store, prepared.manifest, finished)
    store = RunStore(str(folder / "run"))
    store.manifest = replace(store.manifest, indexes=(), routes=None)
    return store


@pytest.fixture
def requests_of_first_version(first_version: RunStore, tmp_path: Path) -> Iterator[Requests]:
    with closing(Database(sql.make_url(f"sqlite:///{tmp_path}/journal.sqlite"))) as database:
        journal = Journal(database, run="run", key=first_version.keys.hash_key)
        journal.create()
        journal.take_over()
        yield Requests(first_version, journal)


@pytest.mark.parametrize(("named", "kept"), [*((text, text) for text in PADDED), ("b", "b  "), (" x5", "x5")])
def test_an_id_that_version_0_1_kept_is_found_as_it_is_and_without_its_space(
    requests_of_first_version: Requests, named: str, kept: str
) -> None:
    result = requests_of_first_version.admit(ids=(named,))
    assert isinstance(result, AdmittedRequest)
    assert list(result.forget.values()) == [(kept,)]
    assert isinstance(requests_of_first_version.admit(ids=(kept,)), SamplesRevoked)


def test_a_revoked_id_is_not_taken_for_another_with_space_around(requests_of_first_version: Requests) -> None:
    requests_of_first_version.admit(ids=("a",))
    requests_of_first_version.purge("a")
    assert isinstance(requests_of_first_version.admit(ids=("a",)), SamplesRevoked)
    result = requests_of_first_version.admit(ids=("a  ",))
    assert isinstance(result, AdmittedRequest)
    assert list(result.forget.values()) == [("a  ",)]


def test_an_id_with_space_around_is_found_after_its_shard_was_repaired(requests_of_first_version: Requests) -> None:
    requests_of_first_version.purge("x9")
    result = requests_of_first_version.admit(ids=("b",))
    assert isinstance(result, AdmittedRequest)
    assert list(result.forget.values()) == [("b  ",)]
