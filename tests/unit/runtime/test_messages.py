"""Messages between processes: nothing of them is readable without the run's key, errors included."""

from pathlib import Path

import pytest

from raymu.errors import CoordinatorLost, FileCorrupt, UnknownSamples, mark_unfinished, unfinished_requests
from raymu.runtime.messages import Failure, MessageCipher
from raymu.service.coordinator.calls import Revoke
from raymu.service.requests.revocation import Revocation
from raymu.store.creation import create_run
from raymu.store.run import RunStore
from tests.support.manifests import MANIFEST

IDS = ("subject-4711@example.org", "patient-0815")


def cipher(folder: Path) -> MessageCipher:
    store = RunStore(str(folder))
    create_run(store, MANIFEST)
    return MessageCipher(store)


def test_a_message_arrives_as_it_was_and_names_nobody_on_its_way(tmp_path: Path) -> None:
    messages = cipher(tmp_path / "run")
    call = Revoke(revocations=(Revocation(ids=IDS, key="ticket-99"),))
    payload = messages.encrypt(call)
    assert messages.decrypt(payload) == call
    assert not any(text.encode() in payload for text in (*IDS, "ticket-99", "Revocation"))
    assert messages.encrypt(call) != payload


def test_an_error_is_raised_where_it_arrives_with_its_mark(tmp_path: Path) -> None:
    messages = cipher(tmp_path / "run")
    error = UnknownSamples(IDS, 2)
    mark_unfinished(error, ["request-1"])
    payload = messages.encrypt(Failure(error))
    assert IDS[0].encode() not in payload
    with pytest.raises(UnknownSamples, match=IDS[0]) as raised:
        messages.decrypt(payload)
    assert unfinished_requests(raised.value) == ("request-1",)


def test_an_error_that_pickle_cannot_make_again_is_replaced_by_its_name(tmp_path: Path) -> None:
    class Odd(Exception):
        pass

    messages = cipher(tmp_path / "run")
    with pytest.raises(CoordinatorLost, match="Odd"):
        messages.decrypt(messages.encrypt(Failure(Odd(IDS[0]))))


def test_a_message_of_another_run_or_a_changed_one_is_refused_before_it_is_read(tmp_path: Path) -> None:
    messages, other = cipher(tmp_path / "run"), cipher(tmp_path / "other")
    payload = messages.encrypt("hello")
    with pytest.raises(FileCorrupt, match="of another run"):
        other.decrypt(payload)
    with pytest.raises(FileCorrupt, match="of another run"):
        messages.decrypt(payload[:-1] + bytes([payload[-1] ^ 1]))
