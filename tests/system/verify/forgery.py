"""A forger who holds the run's keys: each change is chained, sealed and signed as raymu would do it."""

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import TypeAlias

from raymu.core.board.board import RevocationBoard
from raymu.core.commands import PublishGeneration
from raymu.core.events import Event, GenerationPublished, RevocationsAccepted
from raymu.core.records import Generation
from raymu.core.run_shape import RunShape
from raymu.service.verify.evidence import Expected
from raymu.store.codec import from_json, seal, to_json
from raymu.store.journal.file_seal import seal_journal
from raymu.store.receipts import ReceiptRow, sign_receipts
from raymu.store.run import RunStore

Change: TypeAlias = Callable[[list[Event]], list[Event]]


def forge(location: Path, change: Change) -> None:
    """Change the past: the journal with its pseudonyms and receipts, and the served generation, follow from it."""
    store = RunStore(str(location))
    with closing(store.journal(is_read_only=True)) as journal:
        events = list(_republished(store, change(list(journal.events()))))
    with closing(sqlite3.connect(location / "journal.sqlite")) as connection:
        connection.executescript("DELETE FROM events; DELETE FROM requests; DELETE FROM ledger; DELETE FROM revoked;")
    reseal(location)
    journal, term = store.take_over()
    accepted = [request for event in events if isinstance(event, RevocationsAccepted) for request in event.requests]
    with journal.writing() as transaction:
        transaction.add(*events)
        transaction.add_ids({}, {request.request_id: request.hashes for request in accepted})
        transaction.add_receipts(_signed(store, events))
    store.fencing.release(journal, term)


def replacing(words: Mapping[str, str]) -> Change:
    """Return a change of the journal that replaces some texts by others."""

    def replace_words(events: list[Event]) -> list[Event]:
        return [from_json(Event, _replaced(to_json(event).decode(), words), source="a forgery") for event in events]

    return replace_words


def execute(location: Path, *statements: str) -> None:
    """Change the journal with SQL, and leave its file's seal as it is."""
    with closing(sqlite3.connect(location / "journal.sqlite")) as connection:
        for statement in statements:
            assert connection.execute(statement).rowcount != 0, statement
        connection.commit()


def reseal(location: Path) -> None:
    """Seal the journal's file as it is now."""
    store = RunStore(str(location))
    with closing(store.journal(is_read_only=True)) as journal:
        term, sequence = journal.term(), journal.head().sequence
    seal_journal(store.files, store.keys, term=term, sequence=sequence)


def _replaced(text: str, words: Mapping[str, str]) -> str:
    for word, other in words.items():
        text = text.replace(word, other)
    return text


def _republished(store: RunStore, events: Iterable[Event]) -> Iterator[Event]:
    """Yield the events, with the generations that follow from them. The last generation is written."""
    board = RevocationBoard(RunShape.of(store.config), workers=1)
    publication: PublishGeneration | None = None
    generation: Generation | None = None
    before = ""
    for event in events:
        if isinstance(event, GenerationPublished) and publication:
            generation = Generation(
                number=event.number,
                previous_sha256=before,
                cause=publication.cause,
                request_ids=(*event.rewound, *event.repaired, *event.settled),
                published_at=event.at,
                constituents=publication.constituents,
                lineages=publication.lineages,
            )
            before = sha256(seal(generation, store.keys.hash_key)).hexdigest()
            event = replace(event, manifest_sha256=before, base=None, weight=0)
        commands = (command for command in board.handle(event) if isinstance(command, PublishGeneration))
        publication = next(commands, publication)
        yield event
    if generation:
        store.generations.write(generation)
        store.generations.delete_except(generation.number)


def _signed(store: RunStore, events: list[Event]) -> Iterator[ReceiptRow]:
    after: ReceiptRow | None = None
    for sequence, receipt in Expected.of(store, tuple(events)).receipts:
        run, key = store.manifest.run_id, store.keys.signing_key
        [after] = sign_receipts([receipt], after=after, run=run, event=sequence, signing_key=key)
        yield after
