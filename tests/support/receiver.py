"""A real HTTP server that takes what raymu sends, and answers as a test says."""

import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(frozen=True)
class Delivery:
    """One POST as it arrived."""

    path: str
    headers: Mapping[str, str]
    """By their names in lower case."""
    body: bytes


@dataclass
class Receiver:
    """What has arrived, and what is answered."""

    url: str
    deliveries: list[Delivery] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    """Answers to the next deliveries; 200 after them."""
    headers: dict[str, str] = field(default_factory=dict)
    """Headers of every answer."""
    delay_s: float = 0.0
    """How long each answer takes."""
    rest: bytes = b""
    """Body of each answer."""
    connections: int = 0
    """Connections that were made."""

    def wait_for(self, condition: Callable[[list[Delivery]], bool], *, seconds: float = 60) -> list[Delivery]:
        """Wait until what has arrived is as a test needs it, and return it."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if condition(self.deliveries):
                return list(self.deliveries)
            time.sleep(0.05)
        raise AssertionError(f"{self.deliveries}")


@contextmanager
def receiving(tls: ssl.SSLContext | None = None, *, calls: int = 1) -> Iterator[Receiver]:
    """Serve on a free port of this machine.

    Args:
        tls: The certificate; None for none.
        calls: How many a connection is kept for. The last of them is answered as if more could come.
    """

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1" if calls > 1 else "HTTP/1.0"
        answered = 0

        def setup(self) -> None:
            super().setup()
            receiver.connections += 1

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            status = receiver.statuses.pop(0) if receiver.statuses else 200
            receiver.deliveries.append(Delivery(self.path, headers, body))
            time.sleep(receiver.delay_s)
            self.send_response(status)
            for name, value in receiver.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(receiver.rest)))
            self.end_headers()
            self.wfile.write(receiver.rest)
            self.answered += 1
            self.close_connection = self.answered >= calls

        def log_message(self, *_args: object) -> None:
            """Print nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    host = "http://127.0.0.1"
    if tls is not None:
        host, server.socket = "https://localhost", tls.wrap_socket(server.socket, server_side=True)
    if tls is not None or calls > 1:  # refused handshakes and connections that are left would be printed
        server.handle_error = lambda *_args: None  # type: ignore[method-assign]
    receiver = Receiver(f"{host}:{server.server_address[1]}/raymu")
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
