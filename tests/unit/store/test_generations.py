from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from raymu.core.events import GenerationPublished
from raymu.core.records import Generation
from raymu.errors import FileCorrupt, RunInvalid
from raymu.store.generations import GenerationFiles, generation_path
from raymu.store.journal.journal import Journal
from raymu.store.run import RunStore
from tests.support.manifests import MANIFEST
from tests.support.stored_records import generations

NOW = datetime(2024, 5, 6, 7, 8, 9, tzinfo=UTC)
ONE_STORE = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


def generation(number: int) -> Generation:
    return Generation(
        number=number,
        previous_sha256="",
        cause="train",
        request_ids=(),
        published_at=NOW,
        constituents=(),
        lineages=(),
    )


def publish(store: RunStore, journal: Journal, published: Generation) -> GenerationPublished:
    sha256 = store.generations.write(published).sha256
    event = GenerationPublished(at=NOW, number=published.number, manifest_sha256=sha256)
    journal.append(event)
    return event


@pytest.fixture
def store(tmp_path: Path) -> RunStore:
    store = RunStore(str(tmp_path / "run"))
    store.create(MANIFEST)
    return store


@pytest.fixture
def journal(store: RunStore) -> Iterator[Journal]:
    with closing(store.take_over()[0]) as journal:
        yield journal


@ONE_STORE
@given(published=generations)
def test_any_generation_is_read_back_whole(store: RunStore, journal: Journal, published: Generation) -> None:
    publish(store, journal, published)
    assert store.current() == published


def test_a_generation_that_was_not_committed_is_not_served(store: RunStore, journal: Journal) -> None:
    publish(store, journal, generation(1))
    store.generations.write(generation(2))
    assert store.current() == generation(1)
    store.generations.delete_except(1)
    assert store.generations.numbers == [1]


def test_a_generation_superseded_before_it_is_read_is_replaced_by_its_successor(
    store: RunStore, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, later = GenerationFiles.read, iter(range(2, 7))

    def after_the_next_came(files: GenerationFiles, published: GenerationPublished) -> Generation:
        for number in islice(later, 1):
            publish(store, journal, generation(number))
            files.delete_except(number)
        return read(files, published)

    publish(store, journal, generation(1))
    monkeypatch.setattr(GenerationFiles, "read", after_the_next_came)
    assert store.current() == generation(6)


def test_a_generation_sealed_by_another_run_is_refused(store: RunStore, journal: Journal, tmp_path: Path) -> None:
    foreign = RunStore(str(tmp_path / "foreign"))
    foreign.create(MANIFEST)
    sha256 = foreign.generations.write(generation(1)).sha256
    store.files.write(generation_path(1), foreign.files.read(generation_path(1)))
    journal.append(GenerationPublished(at=NOW, number=1, manifest_sha256=sha256))
    with pytest.raises(FileCorrupt, match="its seal is broken"):
        store.current()


def test_a_file_that_is_not_the_published_one_is_refused(store: RunStore, journal: Journal) -> None:
    publish(store, journal, generation(1))
    store.generations.write(replace(generation(1), cause="settle"))
    with pytest.raises(FileCorrupt, match="not the generation that the journal names"):
        store.current()


def test_an_old_copy_of_the_files_is_distinguished_from_one_of_the_journal(store: RunStore, journal: Journal) -> None:
    for number in (1, 2, 3):
        publish(store, journal, generation(number))
    store.files.delete(generation_path(3))
    with pytest.raises(RunInvalid, match=r"an old copy: its newest generation is 2, its journal knows 3"):
        store.current()
    store.generations.write(generation(4))
    with pytest.raises(RunInvalid, match=r"lacks generation 3.*older than its files"):
        store.current()
