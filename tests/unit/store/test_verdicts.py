"""The last verdict of each check, in the run: it is replaced, and nobody without the key of the run can write one."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from raymu.core.verdict import LastVerdict, Verdict
from raymu.errors import FileUnreadable, RunInvalid
from raymu.store.codec import seal
from raymu.store.creation import create_run
from raymu.store.files.run_files import RunFiles
from raymu.store.layout import kind_of, verdict_path
from raymu.store.run import RunStore
from raymu.store.verdicts import VerdictFiles
from tests.support.manifests import MANIFEST

RUN = MANIFEST.run_id
FAILED = LastVerdict(
    run=RUN, check="verify", verdict=Verdict.FAIL, generation=None, at=datetime(2026, 12, 1, tzinfo=UTC)
)
PASSED = replace(FAILED, verdict=Verdict.PASS, generation=7)


@pytest.fixture
def store(tmp_path: Path) -> RunStore:
    created = RunStore(str(tmp_path / "run"))
    create_run(created, MANIFEST)
    return created


def test_the_last_verdict_of_each_check_is_kept(store: RunStore) -> None:
    assert store.verdicts.all(run=RUN) == ()
    store.verdicts.keep(FAILED)
    store.verdicts.keep(PASSED)
    store.verdicts.keep(replace(FAILED, check="audit"))
    again = RunStore(store.location).verdicts
    assert again.all(run=RUN) == (PASSED, replace(FAILED, check="audit"))
    assert [path for path in store.files.walk() if kind_of(path) == "verdict"] == [
        "verdict-audit.json",
        "verdict-verify.json",
    ]
    assert again.foreign(run=RUN) == []


def test_a_verdict_of_another_run_and_one_that_was_moved_or_changed_count_as_none(store: RunStore) -> None:
    store.verdicts.keep(replace(PASSED, run="another"))
    assert store.verdicts.read("verify", run=RUN) is None
    store.files.delete(verdict_path("verify"))
    store.verdicts.keep(FAILED)
    payload = store.files.read(verdict_path("verify"))
    store.files.write(verdict_path("audit"), payload)
    assert store.verdicts.read("audit", run=RUN) is None
    forged = json.loads(payload) | {"verdict": "pass"}
    store.files.write(verdict_path("verify"), json.dumps(forged).encode())
    assert store.verdicts.all(run=RUN) == ()
    assert store.verdicts.foreign(run=RUN) == ["verdict-verify.json", "verdict-audit.json"]


def test_a_file_that_no_command_wrote_is_not_replaced(store: RunStore) -> None:
    foreign = seal(PASSED, b"another key".ljust(32))
    store.files.write(verdict_path("verify"), foreign)
    with pytest.raises(RunInvalid, match=r"verdict-verify.json: is not what `raymu verify` wrote, .*; remove it$"):
        store.verdicts.keep(FAILED)
    assert store.files.read(verdict_path("verify")) == foreign
    store.verdicts.keep(replace(FAILED, check="audit"))
    assert store.verdicts.all(run=RUN) == (replace(FAILED, check="audit"),)


def test_a_file_that_cannot_be_read_now_is_no_verdict_and_is_not_called_foreign(store: RunStore) -> None:
    class Unreadable(RunFiles):
        def read(self, path: str) -> bytes:
            raise FileUnreadable(path, "the storage does not answer")

    store.verdicts.keep(PASSED)
    unread = VerdictFiles(Unreadable(store.location), store.keys)
    assert unread.all(run=RUN) == ()
    assert unread.foreign(run=RUN) == []


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="no time zone"):
        replace(PASSED, at=datetime(2026, 12, 1))
