from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from raymu.core.events import GenerationPublished
from raymu.core.records import Constituent, Generation, ShardState
from raymu.errors import FileCorrupt, RunInvalid
from raymu.store.creation import create_run
from raymu.store.generations import GenerationFiles, generation_path
from raymu.store.journal.journal import Journal
from raymu.store.run import RunStore
from tests.support.manifests import MANIFEST
from tests.support.stored_records import generations
from tests.unit.core.examples import lineage

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
    event = GenerationPublished(at=NOW, number=published.number, manifest_sha256=sha256, base=published.base)
    journal.append(event)
    return event


@pytest.fixture
def store(tmp_path: Path) -> RunStore:
    store = RunStore(str(tmp_path / "run"))
    create_run(store, MANIFEST)
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
    create_run(foreign, MANIFEST)
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


def publish_chain(store: RunStore, journal: Journal) -> list[GenerationPublished]:
    """Publish a whole generation of three shards, and records of changes of two of them."""
    whole = replace(
        generation(3), constituents=tuple(map(constituent, range(3))), lineages=tuple(map(lineage, range(3)))
    )
    published = [publish(store, journal, whole)]
    for number, shard in ((4, 2), (5, 0), (6, 2)):
        record = replace(
            generation(number),
            previous_sha256=published[-1].manifest_sha256,
            constituents=(constituent(shard, samples=number),),
            lineages=(lineage(shard, version=str(number)),),
            base=3,
        )
        published.append(publish(store, journal, record))
    return published


def constituent(shard: int, samples: int = 1) -> Constituent:
    return Constituent(shard=shard, state=ShardState.REWOUND, checkpoint=None, stages_trained=1, samples=samples)


def test_records_of_changes_are_read_as_one_whole_generation(store: RunStore, journal: Journal) -> None:
    published = publish_chain(store, journal)
    current = store.current()
    assert (current.number, current.base, current.previous_sha256) == (6, None, published[-2].manifest_sha256)
    assert [each.samples for each in current.constituents] == [5, 1, 6]
    assert current.lineages == (lineage(0, version="5"), lineage(1), lineage(2, version="6"))
    assert store.generations.read(published[1]).lineages == (lineage(0), lineage(1), lineage(2, version="4"))


@pytest.mark.parametrize("changed", [3, 4, 5, 6])
def test_a_change_of_any_record_is_found(store: RunStore, journal: Journal, changed: int) -> None:
    published = publish_chain(store, journal)
    event = next(event for event in published if event.number == changed)
    store.generations.check(event)
    store.generations.write(replace(store.generations.read(published[0]), number=changed, cause="settle"))
    with pytest.raises(FileCorrupt, match=f"{changed:08d}"):
        store.current()
    with pytest.raises(FileCorrupt, match=f"{changed:08d}"):
        store.generations.check(event)


def test_records_that_say_another_base_than_the_journal_are_refused(store: RunStore, journal: Journal) -> None:
    published = publish_chain(store, journal)
    with pytest.raises(FileCorrupt, match="builds on another generation"):
        store.generations.read(replace(published[-1], base=4))


def test_a_lost_record_is_named_and_is_no_old_copy(store: RunStore, journal: Journal) -> None:
    publish_chain(store, journal)
    store.files.delete(generation_path(4))
    assert not store.generations.is_behind(6)
    with pytest.raises(RunInvalid, match=r"lacks generation 4, which generation 6 builds on; run `raymu rebuild`"):
        store.current()
