"""A network that is slow and fails: proxies before an S3 server and a PostgreSQL server."""

import socket
import socketserver
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import SimpleQueue
from random import Random
from typing import Any, Literal

Fault = Literal["busy", "reset", "error after", "reset after"]
FAULTS: tuple[Fault, ...] = ("busy", "reset", "error after", "reset after")
"""A refusal, a connection that breaks before the server has done anything, and both after it has done all."""
_XML = '<?xml version="1.0" encoding="UTF-8"?><Error><Code>{code}</Code><Message>{code}</Message></Error>'


@dataclass(kw_only=True, slots=True, eq=False)
class Network:
    """How calls fare between a client and a server, and how they have fared."""

    latency_s: float = 0.0
    """Added to each call, and to each connection that is made. Calls over several connections wait side by side."""
    failing: float = 0.0
    """Share of the calls that fail."""
    most_at_once: int = 1_000
    """Calls beyond these are refused as too many."""
    faults: tuple[Fault, ...] = FAULTS
    seed: int = 0
    calls: Counter[str] = field(default_factory=Counter)
    """Kind of call, or "connect" -> how many there were."""
    failed: Counter[str] = field(default_factory=Counter)
    """Fault -> how many calls it struck."""
    _open: int = 0
    _lock: Any = field(default_factory=threading.Lock)
    _random: Random = field(init=False)

    def __post_init__(self) -> None:
        self._random = Random(self.seed)

    def connect(self) -> None:
        """Let a connection take its time."""
        with self._lock:
            self.calls["connect"] += 1
        time.sleep(self.latency_s)

    @contextmanager
    def call(self, kind: str) -> Iterator[Fault | None]:
        """Let a call take its time. Yields what strikes it."""
        fault = self.begin(kind)
        try:
            time.sleep(self.latency_s)
            yield fault
        finally:
            self.end()

    def begin(self, kind: str) -> Fault | None:
        """Count a call. Returns what strikes it."""
        with self._lock:
            self.calls[kind] += 1
            self._open += 1
            fault = self._random.choice(self.faults) if self._random.random() < self.failing else None
            if self._open > self.most_at_once:
                fault = "busy"
            if fault:
                self.failed[fault] += 1
        return fault

    def end(self) -> None:
        """Say that a call is passed on."""
        with self._lock:
            self._open -= 1

    def take_calls(self) -> Counter[str]:
        """Return the calls so far, and count from 0 again."""
        with self._lock:
            taken, self.calls = self.calls, Counter()
        return taken


@contextmanager
def http_proxy(port: int, network: Network) -> Iterator[int]:
    """Forward HTTP requests to a port of this machine. Yields the proxy's own port."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def handle(self) -> None:
            network.connect()
            super().handle()

        def forward(self) -> None:
            body = self.body()
            with network.call(self.command) as fault:
                if fault == "busy":
                    self.refuse(503, "SlowDown")
                elif fault == "reset":
                    self.reset()
                else:
                    self.pass_on(body, fault)

        def pass_on(self, body: bytes, fault: Fault | None) -> None:
            connection = HTTPConnection("127.0.0.1", port, timeout=60)
            connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() not in ("expect", "transfer-encoding", "content-length"):
                    connection.putheader(name, value)
            connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body)
            answer = connection.getresponse()
            payload = answer.read()
            connection.close()
            if fault == "error after":
                self.refuse(500, "InternalError")
            elif fault == "reset after":
                self.reset()
            else:
                self.send_response_only(answer.status)
                for name, value in answer.getheaders():
                    if name.lower() not in ("transfer-encoding", "connection", "content-length"):
                        self.send_header(name, value)
                length = answer.getheader("Content-Length") if self.command == "HEAD" else str(len(payload))
                self.send_header("Content-Length", length or "0")
                self.end_headers()
                self.wfile.write(payload)

        do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = forward  # noqa: N815

        def body(self) -> bytes:
            if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
                return self.rfile.read(int(self.headers.get("Content-Length") or 0))
            chunks = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                chunks.append(self.rfile.read(size))
                self.rfile.readline()
            while self.rfile.readline().strip():
                pass  # trailers
            return b"".join(chunks)

        def refuse(self, status: int, code: str) -> None:
            payload = b"" if self.command == "HEAD" else _XML.format(code=code).encode()
            self.send_response_only(status)
            self.send_header("Content-Type", "application/xml")
            self.send_header("Content-Length", str(len(payload)))
            self.end_headers()
            self.wfile.write(payload)

        def reset(self) -> None:
            _break(self.connection)
            self.close_connection = True

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_request: object) -> None:
            """Be silent: a broken connection is what this is for."""

    with _serving(Server(("127.0.0.1", 0), Handler)) as own:
        yield own


@contextmanager
def tcp_proxy(target: Path, network: Network) -> Iterator[int]:
    """Forward connections to a socket file. Yields the proxy's own port.

    What a client sends until the next answer is one call, in as many parts as it likes: each part is on its way for the
    latency, and none waits for another.
    """

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.client: socket.socket = self.request
            self.client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            network.connect()
            self.database = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self.database.connect(str(target))
            self.is_answered = self.is_answer_lost = False
            self.on_the_way: SimpleQueue[tuple[float, bytes, Fault | None, bool] | None] = SimpleQueue()
            threads = [threading.Thread(target=work, daemon=True) for work in (self.pass_on, self.answer)]
            for thread in threads:
                thread.start()
            is_first = True
            with suppress(OSError):
                while sent := self.client.recv(2**16):
                    if is_first or self.is_answered:
                        self.is_answered, fault = False, network.begin("query")
                        self.on_the_way.put((time.monotonic() + network.latency_s, sent, fault, True))
                    else:
                        self.on_the_way.put((time.monotonic() + network.latency_s, sent, None, False))
                    is_first = False
            self.on_the_way.put(None)
            for thread in threads:
                thread.join(60)

        def pass_on(self) -> None:
            is_broken = False
            while (part := self.on_the_way.get()) is not None:
                arrives_at, sent, fault, is_call = part
                time.sleep(max(0.0, arrives_at - time.monotonic()))
                if is_call:
                    network.end()
                if fault in ("busy", "reset"):
                    is_broken = True
                if not is_broken:
                    self.is_answer_lost = self.is_answer_lost or fault is not None
                    with suppress(OSError):
                        self.database.sendall(sent)
                if is_broken:
                    self.break_both()
            self.break_both()

        def answer(self) -> None:
            with suppress(OSError):
                while answered := self.database.recv(2**16):
                    if self.is_answer_lost:
                        break
                    self.is_answered = True
                    self.client.sendall(answered)
            self.break_both()

        def break_both(self) -> None:
            for end in (self.client, self.database):
                _break(end)

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True

        def handle_error(self, *_request: object) -> None:
            """Be silent: a broken connection is what this is for."""

    with _serving(Server(("127.0.0.1", 0), Handler)) as own:
        yield own


@contextmanager
def _serving(server: socketserver.TCPServer) -> Iterator[int]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)


def _break(end: socket.socket) -> None:
    """Close a connection at once, as a machine does that is gone."""
    with suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    with suppress(OSError):
        end.close()
