"""The presence of a process, as another process of its machine sees it: a connection that breaks when the process ends.

It breaks however the process ends, also when it is killed. Neither sends anything. An actor of Ray would do the same with a
process of its own.
"""

import socket
import threading
from collections.abc import Callable
from contextlib import suppress

_HOST = "127.0.0.1"


class OwnerPresence:
    """The presence of this process, until it is closed."""

    def __init__(self) -> None:
        """Listen on a port of the loopback device."""
        self._listener = socket.create_server((_HOST, 0))
        self.port: int = self._listener.getsockname()[1]
        """What others watch."""
        self._connections: list[socket.socket] = []
        threading.Thread(target=self._accept, name="raymu-presence", daemon=True).start()

    def close(self) -> None:
        """Be gone."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # else the thread that waits for connections takes one more
        self._listener.close()
        for connection in self._connections:
            connection.close()

    def _accept(self) -> None:
        with suppress(OSError):  # the listener is closed
            while True:
                self._connections.append(self._listener.accept()[0])


def watch_owner(port: int, on_gone: Callable[[], None]) -> None:
    """Call a function, in a thread, once the process behind a port is gone. Returns at once.

    Args:
        port: The port of its presence on this machine.
        on_gone: What is called.
    """

    def wait() -> None:
        with suppress(OSError), socket.create_connection((_HOST, port)) as connection:
            connection.recv(1)  # nothing is sent: it returns when the connection ends
        on_gone()

    threading.Thread(target=wait, name="raymu-owner", daemon=True).start()
