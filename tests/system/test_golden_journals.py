"""A journal that version 0.1 wrote is replayed to the state that 0.1 replayed it to."""

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from raymu.core.events import Event
from raymu.store.receipts import check_receipts
from tests.support.golden_journals import GOLDEN, restore, state_of

EVERY = sorted(GOLDEN.iterdir())


def of_then(now: Any, then: Any) -> Any:
    """Return the fields of the present state that the old one has. Later versions may have more."""
    if isinstance(then, dict) and isinstance(now, dict):
        return {name: of_then(now[name], value) for name, value in then.items() if name in now}
    if isinstance(then, list) and isinstance(now, list) and len(now) == len(then):
        return [of_then(item, value) for item, value in zip(now, then, strict=True)]
    return now


@pytest.mark.parametrize("folder", EVERY, ids=lambda folder: folder.name)
def test_a_golden_journal_is_replayed_to_its_state(folder: Path, tmp_path: Path) -> None:
    store = restore(folder, tmp_path / "run")
    then = json.loads((folder / "state.json").read_text())
    with closing(store.journal()) as journal:
        now = json.loads(json.dumps(state_of(journal, store)))
        assert of_then(now, then) == then
        rows = journal.receipt_rows()
    receipts = [
        receipt for _, receipt in check_receipts(rows, run=store.manifest.run_id, public_key=store.keys.public_key)
    ]
    assert {receipt.request_id for receipt in receipts} == {
        receipt["request_id"] for receipt in then["receipts"] if receipt["purged_at"]
    }


def test_every_kind_of_event_is_in_a_golden_journal(tmp_path: Path) -> None:
    kinds = set()
    for folder in EVERY:
        store = restore(folder, tmp_path / folder.name)
        with closing(store.journal()) as journal:
            kinds |= {type(event) for event in journal.events()}
    assert kinds == set(Event.__args__)
