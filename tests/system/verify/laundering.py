"""Changes that an attacker without `hash.key` makes to a run, each drawn at random: rows, schema, files and links."""

import json
import os
import random
import shutil
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, TypeAlias

from raymu.store.codec import canonical_json
from raymu.store.keys import new_signing_key, public_key, sign
from raymu.store.receipts import ReceiptRow
from raymu.store.run import RunStore

Attack: TypeAlias = Callable[[Path, random.Random], None]

TABLES = ("runs", "events", "forget", "ledger", "requests", "revoked")


def _statement(location: Path, statement: str, values: tuple[Any, ...] = ()) -> None:
    with closing(sqlite3.connect(location / "journal.sqlite")) as connection:
        connection.execute(statement, values)
        connection.commit()


def _a_cell(location: Path, chance: random.Random) -> None:
    """Change one value of one row."""
    with closing(sqlite3.connect(location / "journal.sqlite")) as connection:
        table = chance.choice([name for name in TABLES if connection.execute(f"SELECT 1 FROM {name}").fetchone()])
        columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
        column = chance.choice(columns)
        rowids = [row[0] for row in connection.execute(f"SELECT rowid FROM {table}")]
        rowid = chance.choice(rowids)
        value = connection.execute(f"SELECT {column} FROM {table} WHERE rowid = ?", (rowid,)).fetchone()[0]
        other = value + chance.choice([-1, 1, 40]) if isinstance(value, int) else _other_text(value or "none", chance)
        connection.execute(f"UPDATE OR REPLACE {table} SET {column} = ? WHERE rowid = ?", (other, rowid))
        connection.commit()


def _other_text(text: str, chance: random.Random) -> str:
    position = chance.randrange(len(text))
    letter = chance.choice([letter for letter in "0123456789abcdef" if letter != text[position]])
    return chance.choice([text[:position] + letter + text[position + 1 :], text[: position or 1] + "x", "failed"])


def _a_row(location: Path, chance: random.Random) -> None:
    """Delete one row."""
    with closing(sqlite3.connect(location / "journal.sqlite")) as connection:
        table = chance.choice([name for name in TABLES if connection.execute(f"SELECT 1 FROM {name}").fetchone()])
        rowids = [row[0] for row in connection.execute(f"SELECT rowid FROM {table}")]
        connection.execute(f"DELETE FROM {table} WHERE rowid = ?", (chance.choice(rowids),))
        connection.commit()


def _the_schema(location: Path, chance: random.Random) -> None:
    statement = chance.choice(
        [
            "CREATE TABLE notes (run VARCHAR)",
            "CREATE TRIGGER keep AFTER DELETE ON forget BEGIN INSERT INTO revoked VALUES (OLD.run, OLD.sample_ids, 'x'); END",
            "CREATE TRIGGER quiet BEFORE INSERT ON ledger BEGIN SELECT RAISE(IGNORE); END",
            "CREATE VIEW past AS SELECT * FROM events",
            "CREATE INDEX another ON revoked (request_id)",
            "ALTER TABLE forget ADD COLUMN copy TEXT",
            "ALTER TABLE revoked RENAME COLUMN request_id TO request",
            "DROP INDEX forget_by_shard",
            "PRAGMA user_version = 7",
            "CREATE TABLE forget_log AS SELECT * FROM forget",
        ]
    )
    _statement(location, statement)


def _a_view_for_a_table(location: Path, chance: random.Random) -> None:
    table = chance.choice(["forget", "revoked", "ledger", "events"])
    for statement in (f"ALTER TABLE {table} RENAME TO old", f"CREATE VIEW {table} AS SELECT * FROM old"):
        _statement(location, statement)


def _the_keys(location: Path, chance: random.Random) -> None:  # noqa: ARG001 - one signature
    """Replace the signing keys, and sign all receipts anew."""
    store, key = RunStore(str(location)), new_signing_key()
    with closing(store.journal(is_read_only=True)) as journal:
        rows = journal.receipt_rows()
    (location / "signing.key").write_text(key.hex())
    (location / "signing.pub").write_text(public_key(key).hex())
    for row in _signed_again(rows, key):
        _statement(location, "UPDATE ledger SET document = ? WHERE number = ?", (row.document, row.number))


def _signed_again(rows: list[ReceiptRow], key: bytes) -> list[ReceiptRow]:
    signed: list[ReceiptRow] = []
    for row in rows:
        tree = json.loads(row.document)
        del tree["signature"]
        tree["ledger"]["previous_sha256"] = signed[-1].sha256 if signed else ""
        if "public_key" in tree["ledger"]:
            tree["ledger"]["public_key"] = public_key(key).hex()
        document = canonical_json(tree | {"signature": sign(canonical_json(tree), key)}).decode()
        signed.append(ReceiptRow(number=row.number, request_id=row.request_id, document=document))
    return signed


def _a_receipt(location: Path, chance: random.Random) -> None:
    """Change what a receipt says, its order or its signature, or take one away."""
    with closing(sqlite3.connect(location / "journal.sqlite")) as connection:
        rows = connection.execute("SELECT number, request_id, document FROM ledger ORDER BY number").fetchall()
        number, _, document = chance.choice(rows)
        tree = json.loads(document)
        match chance.randrange(4):
            case 0:
                tree |= {"exactness": "exact", "settled_at": tree["accepted_at"], "due_met": True, "samples": 99}
            case 1:
                tree["signature"] = _other_text(tree["signature"], chance)
            case 2:
                tree["ledger"] |= {"event": tree["ledger"]["event"] + 1}
            case _:
                tree["note"] = 1
        changed = canonical_json(tree).decode()
        connection.execute("UPDATE ledger SET document = ? WHERE number = ?", (changed, number))
        connection.commit()


def _rows_in_another_order(location: Path, chance: random.Random) -> None:
    """Exchange the contents of two events, or add an event again at the end."""
    with closing(sqlite3.connect(location / "journal.sqlite")) as connection:
        last = connection.execute("SELECT MAX(sequence) FROM events").fetchone()[0]
        first, second = chance.sample(range(1, last + 1), 2)
        if chance.random() < 0.5:
            columns = "run, ?, kind, payload, seal"
            connection.execute(f"INSERT INTO events SELECT {columns} FROM events WHERE sequence = ?", (last + 1, first))
        else:
            payloads = dict(connection.execute("SELECT sequence, payload FROM events").fetchall())
            for number, other in ((first, second), (second, first)):
                connection.execute("UPDATE events SET payload = ? WHERE sequence = ?", (payloads[other], number))
        connection.commit()


def _an_older_journal(location: Path, chance: random.Random) -> None:
    """Put the journal back as it was before, with its seal and its term, or without one of them."""
    before = location.with_name("before")
    for name in ("journal.sqlite", *chance.sample(["journal.seal", "epoch"], chance.randrange(3))):
        shutil.copy(before / name, location / name)


def _an_older_copy(location: Path, chance: random.Random) -> None:  # noqa: ARG001 - one signature
    """Put the whole run back as it was before."""
    shutil.rmtree(location)
    shutil.copytree(location.with_name("before"), location)


def _a_seal(location: Path, chance: random.Random) -> None:
    """Take a seal away, change it, or change what it seals."""
    path = chance.choice(["journal.seal", "run.json", *_names(location, "generations"), *_names(location, "reports")])
    tree = json.loads((location / path).read_text())
    match chance.randrange(3):
        case 0:
            del tree["seal"]
        case 1:
            tree["seal"] = _other_text(tree["seal"], chance)
        case _:
            name = chance.choice(sorted(name for name in tree if name != "seal"))
            tree[name] = tree[name] + 1 if isinstance(tree[name], int) else None if tree[name] else "x"
    (location / path).write_bytes(canonical_json(tree))


def _a_generation(location: Path, chance: random.Random) -> None:
    """Put an earlier generation in the place of the served one, or beside it under any number."""
    [served] = _names(location, "generations")[-1:]
    earlier = chance.choice(sorted((location.with_name("before") / "generations").iterdir()))
    number = chance.choice([served, f"generations/{chance.randrange(1, 20):08d}.json"])
    shutil.copy(earlier, location / number)


def _a_file_of_before(location: Path, chance: random.Random) -> None:
    """Put a purged file back, under its name or another."""
    before = location.with_name("before")
    files = [path.relative_to(before) for path in before.rglob("*.*") if path.suffix in (".safetensors", ".parquet")]
    purged = sorted(str(path) for path in files if not (location / path).exists())
    path = chance.choice(purged)
    name = chance.choice([path, "notes.txt", f"{path[:-20]}0123456789abcdef{path[-8:]}"])
    shutil.copy(before / path, location / name)


def _names(location: Path, folder: str) -> list[str]:
    return sorted(str(path.relative_to(location)) for path in (location / folder).glob("*.json"))


def _a_file(location: Path, chance: random.Random) -> None:
    path = chance.choice(sorted(path for path in location.rglob("*") if path.is_file()))
    payload = bytearray(path.read_bytes())
    match chance.randrange(3):
        case 0 if payload:
            payload[chance.randrange(len(payload))] ^= 1 << chance.randrange(8)
            path.write_bytes(payload)
        case 1:
            path.unlink()
        case _:
            path.write_bytes(payload[: chance.randrange(len(payload) + 1)])


def _a_new_file(location: Path, chance: random.Random) -> None:
    name = chance.choice(
        ["notes.txt", "shards/0000/notes.txt", "samples/ids.csv", "reports/x.json", "generations/x", "coordinator.json"]
    )
    (location / name).parent.mkdir(exist_ok=True)
    (location / name).write_text("1007")


def _a_link(location: Path, chance: random.Random) -> None:
    """Put a link into the run: to a folder, to a parent, in the place of a folder or of a file."""
    outside = location.with_name("outside")
    match chance.randrange(4):
        case 0:
            (location / "shards" / "0000" / "extra").symlink_to(outside)
        case 1:
            (location / "shards" / "up").symlink_to(location)
        case 2:
            folder = chance.choice(["shards", "samples", "generations"])
            (location / folder).rename(outside / folder)
            (location / folder).symlink_to(outside / folder)
        case _:
            path = chance.choice(sorted(path for path in location.rglob("*") if path.is_file()))
            path.rename(outside / path.name)
            path.symlink_to(outside / path.name)


def _a_pipe(location: Path, chance: random.Random) -> None:
    os.mkfifo(location / chance.choice(["pipe", "shards/pipe", "shards/0000/stage-9-0123456789abcdef.safetensors"]))


ATTACKS: Mapping[str, Attack] = {
    "a cell": _a_cell,
    "a row": _a_row,
    "the schema": _the_schema,
    "a view for a table": _a_view_for_a_table,
    "the keys": _the_keys,
    "a receipt": _a_receipt,
    "rows in another order": _rows_in_another_order,
    "an older journal": _an_older_journal,
    "an older copy": _an_older_copy,
    "a seal": _a_seal,
    "a generation": _a_generation,
    "a file of before": _a_file_of_before,
    "a file": _a_file,
    "a new file": _a_new_file,
    "a link": _a_link,
    "a pipe": _a_pipe,
}
OF_THE_JOURNAL = (
    "a cell",
    "a row",
    "the schema",
    "a view for a table",
    "the keys",
    "a receipt",
    "rows in another order",
    "an older journal",
    "an older copy",
)
"""Attacks that no command mends: only a backup does."""
