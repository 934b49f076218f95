"""A process is present until it closes its presence, or ends."""

import socket
import threading
import time

import pytest

from raymu.runtime.owner_presence import OwnerPresence, watch_owner


def test_who_watches_learns_of_the_end_and_not_before() -> None:
    presence, is_gone = OwnerPresence(), threading.Event()
    watch_owner(presence.port, is_gone.set)
    assert not is_gone.wait(0.3)
    presence.close()
    assert is_gone.wait(10)


def test_a_presence_that_was_closed_is_not_there_for_who_comes_later() -> None:
    presence = OwnerPresence()
    time.sleep(0.2)  # its thread waits for connections
    presence.close()
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", presence.port), timeout=10)
    is_gone = threading.Event()
    watch_owner(presence.port, is_gone.set)
    assert is_gone.wait(10)
