"""Receipts in envelopes are checked by a program without raymu, which refuses every change to them."""

import base64
import copy
import json
import random
import runpy
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from raymu.core.receipt import Receipt
from raymu.errors import FileCorrupt
from raymu.store.attestations import attest, public_key_pem
from raymu.store.keys import new_signing_key, public_key
from raymu.store.receipts import ReceiptRow, sign_receipts
from tests.support.shown_results import a_receipt

SCRIPT = Path(__file__).parents[3] / "docs" / "check_receipts.py"
KEY, OTHER_KEY = new_signing_key(), new_signing_key()
TAMPERINGS = 100


def issued(count: int, *, run: str = "run", key: bytes = KEY) -> list[ReceiptRow]:
    receipts = [finished_receipt(f"request-{number}", samples=number) for number in range(1, count + 1)]
    return list(sign_receipts(receipts, after=None, run=run, event=7, signing_key=key))


def finished_receipt(request_id: str, *, samples: int = 3) -> Receipt:
    return replace(a_receipt(), request_id=request_id, samples=samples, generation_after=2, manifest_after="ab" * 32)


def attested(rows: list[ReceiptRow], *, run: str = "run", key: bytes = KEY) -> list[dict[str, Any]]:
    return list(attest(rows, run=run, signing_key=key, numbers=[row.number for row in rows]))


@pytest.fixture
def checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Check documents by the script. Returns what it prints about valid ones; raises SystemExit with what it refuses."""
    (tmp_path / "signing.pem").write_bytes(public_key_pem(public_key(KEY)))

    def check(*documents: Any) -> list[str]:
        paths = [tmp_path / f"{number}.json" for number in range(len(documents))]
        for path, document in zip(paths, documents, strict=True):
            path.write_text(document if isinstance(document, str) else json.dumps(document), encoding="utf-8")
        monkeypatch.setattr(sys, "argv", [str(SCRIPT), str(tmp_path / "signing.pem"), *map(str, paths)])
        capsys.readouterr()
        runpy.run_path(str(SCRIPT), run_name="__main__")
        return capsys.readouterr().out.splitlines()

    return check


@pytest.mark.parametrize("count", [1, 2, 5])
def test_receipts_are_valid_all_together_and_each_alone(checked: Any, count: int) -> None:
    documents = attested(issued(count))
    lines = checked(*documents)
    assert [f"request-{number}, {number} samples" in lines[number - 1] for number in range(1, count + 1)] == [
        True
    ] * count
    assert all(": valid: " in line for line in lines)
    for document in documents:
        assert len(checked(document)) == 1


def test_the_same_receipts_give_the_same_bytes() -> None:
    rows = issued(3)
    assert attested(rows) == attested(rows)


def leaves(tree: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the place of every value."""
    if isinstance(tree, dict | list):
        for name, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
            yield from leaves(value, (*path, name))
    else:
        yield path


def changed(tree: Any, path: tuple[Any, ...], draw: random.Random) -> Any:
    """Return a copy with another value at a place: a character or a number that differs."""
    copied = copy.deepcopy(tree)
    parent = copied
    for name in path[:-1]:
        parent = parent[name]
    value = parent[path[-1]]
    if isinstance(value, str):
        place = draw.randrange(len(value)) if value else 0
        parent[path[-1]] = (
            value[:place] + draw.choice("abcABC019+".replace(value[place : place + 1], "")) + value[place + 1 :]
        )
    else:
        parent[path[-1]] = value + 1 if isinstance(value, int) else "x"
    return copied


def opened(envelope: dict[str, Any]) -> Any:
    return json.loads(base64.b64decode(envelope["payload"]))


def test_every_change_is_refused(checked: Any) -> None:
    document = attested(issued(5))[2]
    draw, places = random.Random(0), list(leaves(document))
    assert len(places) >= 14
    for number in range(TAMPERINGS):
        tampered = changed(document, places[number % len(places)], draw)
        with pytest.raises(SystemExit, match="NOT VALID"):
            checked(tampered)


def test_a_changed_receipt_in_its_envelope_is_refused(checked: Any) -> None:
    document, draw = attested(issued(3))[1], random.Random(1)
    for part in ("receipt", "log"):
        statement = opened(document[part])
        for path in leaves(statement):
            tampered = copy.deepcopy(document)
            payload = json.dumps(changed(statement, path, draw), sort_keys=True, separators=(",", ":")).encode()
            tampered[part]["payload"] = base64.b64encode(payload).decode()
            with pytest.raises(SystemExit, match="NOT VALID"):
                checked(tampered)


def test_receipts_of_others_and_of_other_places_are_refused(checked: Any) -> None:
    rows = issued(3)
    first, second, third = attested(rows)
    for tampered in (
        attested(issued(3, key=OTHER_KEY), key=OTHER_KEY)[0],
        first | {"log": attested(issued(3, run="other"), run="other")[0]["log"]},
        first | {"inclusion": second["inclusion"]},
        first | {"receipt": second["receipt"]},
        first | {"log": attested(rows[:2])[0]["log"]},
        third | {"inclusion": third["inclusion"] | {"index": 0}},
        first | {"note": "settled"},
        "{}",
        "[]",
        "no JSON",
    ):
        with pytest.raises(SystemExit, match="NOT VALID"):
            checked(tampered)


def test_a_chain_with_another_receipt_in_it_is_refused(checked: Any) -> None:
    """Whoever has the key can sign two histories. Receipts of both do not follow from one another."""
    others = [finished_receipt(f"other-{number}") for number in range(1, 4)]
    forked = attested(list(sign_receipts(others, after=None, run="run", event=7, signing_key=KEY)))
    documents = attested(issued(3))
    assert len(checked(documents[0], documents[1])) == 2
    with pytest.raises(SystemExit, match="the one before is another"):
        checked(forked[0], documents[1])


def test_nothing_is_signed_of_a_changed_log() -> None:
    rows = issued(3)
    with pytest.raises(FileCorrupt):
        attested([rows[0], rows[2]])


def test_the_script_is_short_enough_to_read() -> None:
    lines = [line for line in SCRIPT.read_text(encoding="utf-8").splitlines() if line.strip()]
    assert len(lines) <= 66
