"""A forger who holds the run's keys: whatever it changes is chained, sealed and signed as raymu does it itself."""

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
from raymu.core.workload import RunShape
from raymu.service.verify.evidence import Expected
from raymu.store.codec import from_json, seal, to_json
from raymu.store.journal.file_seal import seal_journal
from raymu.store.receipts import ReceiptRow, sign_receipts
from raymu.store.run import RunStore

Change: TypeAlias = Callable[[list[Event]], list[Event]]


def forge(location: Path, change: Change) -> None:
    """Tell another past: the journal with its hashes and receipts, and the served generation, follow from it."""
    store = RunStore(str(location))
    with closing(store.journal(is_read_only=True)) as journal:
        events = list(_republished(store, change(list(journal.events()))))
    with closing(sqlite3.connect(location / "journal.sqlite")) as connection:
        connection.executescript("DELETE FROM events; DELETE FROM ledger; DELETE FROM revoked;")
    reseal(location)
    journal, term = store.take_over()
    accepted = [one for event in events if isinstance(event, RevocationsAccepted) for one in event.requests]
    with journal.writing() as entry:
        entry.add(*events)
        entry.add_ids({}, {request.request_id: request.hashes for request in accepted})
        entry.add_receipts(_signed(store, events))
    store.fencing.release(journal, term)


def telling(words: Mapping[str, str]) -> Change:
    """A past in which some words stand for others."""

    def retell(events: list[Event]) -> list[Event]:
        return [from_json(Event, _retold(to_json(event).decode(), words), source="a forgery") for event in events]

    return retell


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


def _retold(text: str, words: Mapping[str, str]) -> str:
    for word, other in words.items():
        text = text.replace(word, other)
    return text


def _republished(store: RunStore, events: Iterable[Event]) -> Iterator[Event]:
    """The events, with the generations that follow from them; the last one is written."""
    board = RevocationBoard(RunShape.of(store.config), workers=1)
    asked: PublishGeneration | None = None
    generation: Generation | None = None
    before = ""
    for event in events:
        if isinstance(event, GenerationPublished) and asked:
            generation = Generation(
                number=event.number,
                previous_sha256=before,
                cause=asked.cause,
                request_ids=(*event.rewound, *event.repaired, *event.settled),
                published_at=event.at,
                constituents=asked.constituents,
                lineages=asked.lineages,
            )
            before = sha256(seal(generation, store.keys.hash_key)).hexdigest()
            event = replace(event, manifest_sha256=before)
        asked = next((one for one in board.handle(event) if isinstance(one, PublishGeneration)), asked)
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
