"""What a verification says about files that come and go while it looks."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from raymu.service.verify.leftovers import _presence
from raymu.store.creation import create_run
from raymu.store.presence import Presence, PresenceFile
from raymu.store.run import RunStore
from tests.support.manifests import MANIFEST


def test_a_coordinator_that_begins_meanwhile_is_no_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = RunStore(str(tmp_path / "run"))
    create_run(store, MANIFEST)
    read = PresenceFile.read

    def read_and_begin(file: PresenceFile) -> Presence | None:
        presence = read(file)
        RunStore(store.location).presence._write(Presence.of_this_process())
        return presence

    monkeypatch.setattr(PresenceFile, "read", read_and_begin)
    evidence: Any = SimpleNamespace(store=store)
    assert not list(_presence(evidence))
