"""What the service sends to others: where it may go, how often it is sent, and how it is signed."""

import base64
import hashlib
import hmac
import logging
import socket
import sqlite3
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi")

from raymu.errors import ConfigInvalid
from raymu.store.journal.event_chain import ChainHead
from raymu.web import deliveries as deliveries_module
from raymu.web import outgoing
from raymu.web.deliveries import Deliveries
from raymu.web.outbox import Cursor, Message, Outbox
from raymu.web.outgoing import Answer, Conversation, NotSent, is_public, post
from raymu.web.protocol_settings import WebhookConfig, read_protocol_settings, read_secrets
from raymu.web.sender import FIRST_PAUSE_S, LONGEST_PAUSE_S, Outcome, Sender, pause_s, uncounted
from raymu.web.webhooks import Webhook
from tests.support.certificates import write_certificate
from tests.support.receiver import Receiver as ReceiverServer
from tests.support.receiver import receiving

SECRET = b"0123456789abcdef0123456789abcdef"


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    box = Outbox(tmp_path / "state.sqlite")
    yield box
    box.close()


def webhook(url: str, **settings: Any) -> Webhook:
    config = WebhookConfig(name="crm", url=url, secret_file="unused", private_addresses=True, **settings)
    return Webhook(config=config, secrets=(SECRET,))


def fill(outbox: Outbox, hook: Webhook, *ids: str, made_at: float | None = None) -> None:
    at = time.time() if made_at is None else made_at
    messages = [Message(id=each, target=hook.target, url=hook.config.url, body='{"a":1}', made_at=at) for each in ids]
    outbox.advance("run", Cursor(head=ChainHead(sequence=1, seal="s"), receipts=0), messages)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.1.2.3",
        "192.168.0.1",
        "172.16.9.9",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "::1",
        "::",
        "fe80::1%eth0",
        "fc00::1",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "2002:7f00:1::",
        "64:ff9b::7f00:1",
    ],
)
def test_a_private_address_is_one_in_every_notation(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["93.184.216.34", "2606:2800:220:1:248:1893:25c8:1946", "::ffff:93.184.216.34"])
def test_a_public_address_is_none(address: str) -> None:
    assert is_public(address)


def test_nothing_is_sent_to_a_private_address_by_whatever_name(monkeypatch: pytest.MonkeyPatch) -> None:
    with receiving() as receiver:
        port = receiver.url.split(":")[2].split("/")[0]
        for host in ("127.0.0.1", "localhost", "[::1]", "0x7f000001", "2130706433"):
            with pytest.raises(NotSent):
                post(f"http://{host}:{port}/", b"{}", {})
        facts = [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, int(port)))
            for address in ("93.184.216.34", "127.0.0.1")
        ]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_options: facts)
        with pytest.raises(NotSent, match="private"):
            post(f"http://two-addresses.example:{port}/", b"{}", {})
        assert not receiver.deliveries


def test_a_server_that_answers_byte_by_byte_is_left_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outgoing, "ANSWER_S", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as server:

        def dribble() -> None:
            connection, _ = server.accept()
            with connection, suppress(OSError):
                connection.recv(65_536)
                connection.sendall(b"HTTP/1.1 200 OK\r\nX: ")
                for _ in range(600):
                    connection.sendall(b"a")
                    time.sleep(0.02)

        thread = threading.Thread(target=dribble)
        thread.start()
        started = time.monotonic()
        with pytest.raises(NotSent):
            post(f"http://127.0.0.1:{server.getsockname()[1]}/", b"{}", {}, is_private_allowed=True)
        assert time.monotonic() - started < 6
        thread.join()


def test_a_redirect_is_not_followed() -> None:
    with receiving() as receiver, receiving() as other:
        receiver.statuses, receiver.headers = [307], {"Location": other.url}
        answer = post(receiver.url, b"{}", {}, is_private_allowed=True)
        assert (answer.status, answer.is_taken, other.deliveries) == (307, False, [])


@pytest.mark.parametrize(
    ("calls", "rest", "connections"),
    [(100, b"", 1), (100, b"taken", 1), (4, b"taken", 3), (1, b"taken", 10), (100, b"x" * 70_000, 10)],
    ids=["no body", "a body", "closed at times", "closed each time", "too much to read"],
)
def test_calls_in_a_row_share_a_connection_for_as_long_as_the_host_keeps_it(
    calls: int, rest: bytes, connections: int
) -> None:
    with receiving(calls=calls) as receiver, closing(Conversation()) as conversation:
        receiver.rest = rest
        for number in range(10):
            body = str(number).encode()
            assert conversation.post(receiver.url, body, {}, is_private_allowed=True) == Answer(status=200)
        assert [delivery.body for delivery in receiver.deliveries] == [str(number).encode() for number in range(10)]
        assert receiver.connections == connections


def test_a_conversation_with_another_host_looks_its_address_up() -> None:
    with receiving(calls=9) as first, receiving(calls=9) as second, closing(Conversation()) as conversation:
        for receiver in (first, second, first):
            assert conversation.post(receiver.url, b"{}", {}, is_private_allowed=True).is_taken
        assert (first.connections, second.connections) == (2, 1)
        with pytest.raises(NotSent, match="private"):  # a connection to a private address is not used by who may not
            conversation.post(first.url, b"{}", {})


WHOLE = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\ntaken"


@pytest.mark.parametrize(
    "connections",
    [
        pytest.param([[WHOLE, b""], [b""]], id="once more if the host has left"),
        pytest.param([[WHOLE, b"HTTP/1.1 2"]], id="not again after a wrong answer"),
    ],
)
def test_a_call_over_a_kept_connection_is_made_once_more_only_if_the_host_has_left(
    connections: list[list[bytes]],
) -> None:
    calls: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            for answers in connections:
                connection, _ = server.accept()
                with connection:
                    for answer in answers:
                        request = b""
                        while not request.endswith(b"\r\n\r\n{}"):
                            request += connection.recv(65_536)
                        calls.append(request)
                        connection.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}/"
        with closing(Conversation()) as conversation:
            assert conversation.post(url, b"{}", {}, is_private_allowed=True).is_taken
            with pytest.raises(NotSent):
                conversation.post(url, b"{}", {}, is_private_allowed=True)
        thread.join(timeout=60)
        assert not thread.is_alive()
    assert len(calls) == sum(map(len, connections))


def test_a_body_that_dribbles_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outgoing, "REST_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as server, closing(Conversation()) as conversation:

        def dribble() -> None:
            connection, _ = server.accept()
            with connection, suppress(OSError):
                connection.recv(65_536)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n")
                for _ in range(600):
                    connection.sendall(b"a")
                    time.sleep(0.02)

        thread = threading.Thread(target=dribble)
        thread.start()
        started = time.monotonic()
        answer = conversation.post(f"http://127.0.0.1:{server.getsockname()[1]}/", b"{}", {}, is_private_allowed=True)
        assert answer.is_taken
        assert time.monotonic() - started < 6
        thread.join()


@pytest.mark.parametrize("domain", ["localhost", "other.example"])
def test_a_server_is_known_by_the_name_in_its_certificate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, domain: str
) -> None:
    certificate, key = write_certificate(tmp_path, domain)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with receiving(context) as receiver:
        if domain == "localhost":
            assert post(receiver.url, b"{}", {}, is_private_allowed=True).is_taken
        else:
            with pytest.raises(NotSent, match="SSLError"):
                post(receiver.url, b"{}", {}, is_private_allowed=True)
        assert len(receiver.deliveries) == (domain == "localhost")


def test_a_message_is_signed_as_standard_webhooks_asks_and_sent_once(outbox: Outbox) -> None:
    with receiving() as receiver:
        hook = webhook(receiver.url)
        fill(outbox, hook, "msg_1")
        Sender(outbox, hook).send_due()
        [delivery] = receiver.deliveries
        stamp = delivery.headers["webhook-timestamp"]
        signed = b".".join((b"msg_1", stamp.encode(), delivery.body))
        expected = base64.b64encode(hmac.new(SECRET, signed, hashlib.sha256).digest()).decode()
        assert delivery.headers["webhook-id"] == "msg_1"
        assert delivery.headers["webhook-signature"] == f"v1,{expected}"
        assert abs(int(stamp) - time.time()) < 60
        Sender(outbox, hook).send_due()
        assert (len(receiver.deliveries), outbox.waiting()) == (1, 0)


def test_what_was_not_taken_is_sent_again_with_the_same_id(outbox: Outbox) -> None:
    with receiving() as receiver:
        receiver.statuses = [500, 302]
        hook = webhook(receiver.url)
        now = time.time()
        sender = Sender(outbox, hook, clock=lambda: now)
        fill(outbox, hook, "msg_1", made_at=now)
        for attempt in range(5):
            sender.send_due()
            assert len(receiver.deliveries) == min(attempt + 1, 3)
            sender.send_due()  # before the pause has ended
            assert len(receiver.deliveries) == min(attempt + 1, 3)
            now += LONGEST_PAUSE_S
        assert {delivery.headers["webhook-id"] for delivery in receiver.deliveries} == {"msg_1"}
        assert len({delivery.body for delivery in receiver.deliveries}) == 1
        assert outbox.waiting() == 0


def test_a_message_is_given_up_after_its_time_or_when_its_receiver_is_gone(
    outbox: Outbox, caplog: pytest.LogCaptureFixture
) -> None:
    hook = webhook("http://127.0.0.1:9/", retry_hours=1)
    fill(outbox, hook, "old", made_at=time.time() - 3600)

    def unreachable(*_args: object, **_options: object) -> Answer:
        raise NotSent("no address answers")

    with caplog.at_level(logging.ERROR):
        Sender(outbox, hook, send=unreachable).send_due()
    assert "old" in caplog.text
    fill(outbox, hook, "new")
    Sender(outbox, hook, send=lambda *_args, **_options: Answer(status=410)).send_due()
    assert outbox.waiting() == 0


def test_one_attempt_fails_for_all_that_wait_and_for_what_comes_while_the_host_is_left_alone(outbox: Outbox) -> None:
    attempts: list[object] = []

    def failing(*_args: object, **_options: object) -> Answer:
        attempts.append(_args)
        return Answer(status=503)

    now = time.time()
    hook = webhook("http://127.0.0.1:9/")
    sender = Sender(outbox, hook, send=failing, clock=lambda: now)
    fill(outbox, hook, *(f"msg_{number}" for number in range(5)))
    for number in range(6):
        fill(outbox, hook, f"later_{number}", made_at=now)
        sender.send_due()
        sender.send_due()
        assert len(attempts) == number + 1
        pause = FIRST_PAUSE_S * 2**number
        now += pause / 2 - 0.1
        sender.send_due()
        assert len(attempts) == number + 1, "pauses double"
        now += pause / 2 + 0.2
    assert outbox.waiting() == 11


def test_a_message_at_which_a_receiver_fails_each_time_holds_up_no_other(outbox: Outbox) -> None:
    taken: list[bytes] = []

    def failing_at_one(_url: str, body: bytes, headers: Any, **_options: object) -> Answer:
        if headers["webhook-id"] == "msg_0":
            return Answer(status=500)
        taken.append(body)
        return Answer(status=200)

    now = time.time()
    hook = webhook("http://127.0.0.1:9/")
    sender = Sender(outbox, hook, send=failing_at_one, clock=lambda: now)
    fill(outbox, hook, *(f"msg_{number}" for number in range(4)), made_at=now)
    sender.send_due()
    assert taken == []
    now += FIRST_PAUSE_S + 1
    sender.send_due()
    assert (len(taken), outbox.waiting()) == (3, 1)


def test_what_waits_for_a_dead_host_is_given_up_together_when_its_time_ends(outbox: Outbox) -> None:
    now = time.time()
    hook = webhook("http://127.0.0.1:9/", retry_hours=1)
    outcomes: list[Outcome] = []
    sender = Sender(
        outbox, hook, send=lambda *_args, **_options: Answer(status=503), clock=lambda: now, count=outcomes.append
    )
    fill(outbox, hook, *(f"msg_{number}" for number in range(50)), made_at=now - 3599)
    fill(outbox, hook, "young", made_at=now)
    sender.send_due()
    assert (outbox.waiting(), outcomes.count(Outcome.GIVEN_UP)) == (1, 50)


class Callbacks:
    """Whoever messages of a protocol are sent to, each by its own URL, as those of OpenDSR."""

    target, is_private_allowed, retry_s = "callbacks", True, 3600.0

    def url(self, message: Message) -> str:
        return message.url

    def headers(self, _message: Message, _now: float) -> dict[str, str]:
        return {}


def to(receiver: ReceiverServer, *ids: str) -> list[Message]:
    now = time.time()
    return [Message(id=each, target="callbacks", url=receiver.url, body=each, made_at=now) for each in ids]


def wait_for(receiver: ReceiverServer, count: int) -> None:
    receiver.wait_for(lambda arrived: len(arrived) == count)


def test_a_dead_receiver_and_a_slow_one_delay_nobody_else(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "state.sqlite")
    with receiving() as slow, receiving() as quick, closing(socket.create_server(("127.0.0.1", 0))) as silent:
        slow.delay_s, dead = (
            1.0,
            f"http://127.0.0.1:{silent.getsockname()[1]}/",
        )  # it takes a connection, and never answers
        box = [replace(message, url=dead) for message in to(quick, *(f"dead_{number}" for number in range(30)))]
        box += to(slow, *(f"slow_{number}" for number in range(3)))
        box += to(quick, *(f"quick_{number}" for number in range(50)))
        outbox.advance("run", Cursor(head=ChainHead(sequence=1, seal="s"), receipts=0), box)
        deliveries = Deliveries(outbox, [], [Callbacks()], count_for=lambda _target: uncounted)
        began = time.monotonic()
        deliveries.begin()
        try:
            quick.wait_for(lambda arrived: len(arrived) == 50, seconds=30)
            quick_s = time.monotonic() - began
            arrived = slow.wait_for(lambda arrived: len(arrived) == 3, seconds=30)
        finally:
            silent.close()
            deliveries.close()
        assert sorted(delivery.body for delivery in arrived) == [b"slow_0", b"slow_1", b"slow_2"], "each was sent once"
        assert quick_s < outgoing.READ_S, "nothing waited for the answer of another host"


def test_a_host_for_which_the_system_had_no_thread_is_called_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outbox = Outbox(tmp_path / "state.sqlite")
    began: list[threading.Thread] = []

    class Thread(threading.Thread):
        def start(self) -> None:
            began.append(self)
            if len(began) in range(3, 6):  # after those of the deliveries themselves
                raise RuntimeError("can't start new thread")
            super().start()

    with receiving() as quick, monkeypatch.context() as patch:
        patch.setattr(deliveries_module, "MOST_HOSTS", 1)
        deliveries = Deliveries(outbox, [], [Callbacks()], count_for=lambda _target: uncounted)
        box = to(quick, "msg_1")
        outbox.advance("run", Cursor(head=ChainHead(sequence=1, seal="s"), receipts=0), box)
        patch.setattr(threading, "Thread", Thread)
        deliveries.begin()
        try:
            arrived = quick.wait_for(lambda arrived: len(arrived) == 1, seconds=30)
        finally:
            deliveries.close()
    assert [delivery.body for delivery in arrived] == [b"msg_1"]
    assert [thread.ident for thread in began[2:5]] == [None] * 3


def test_a_message_that_is_refused_for_good_holds_up_no_other(outbox: Outbox) -> None:
    with receiving() as receiver:
        receiver.statuses = [422]
        hook = webhook(receiver.url)
        fill(outbox, hook, *(f"msg_{number}" for number in range(4)))
        Sender(outbox, hook).send_due()
        assert (len(receiver.deliveries), outbox.waiting()) == (4, 1)


def test_pauses_double_up_to_a_bound_and_are_never_in_step() -> None:
    for attempts in range(40):
        longest = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2**attempts)
        pauses = {pause_s(attempts) for _ in range(20)}
        assert len(pauses) > 1
        assert all(longest / 2 <= pause <= longest for pause in pauses)
    assert pause_s(0, 600.0) == 600.0
    assert pause_s(0, 1e9) == LONGEST_PAUSE_S


def test_a_message_that_is_there_is_not_made_again_and_the_outbox_outlives_its_process(tmp_path: Path) -> None:
    box = Outbox(tmp_path / "state.sqlite")
    hook = webhook("http://127.0.0.1:9/")
    fill(box, hook, "msg_1", "msg_2")
    fill(box, hook, "msg_2", "msg_3")
    with pytest.raises(ConfigInvalid, match="another service sends from it"):
        Outbox(tmp_path / "state.sqlite")
    box.close()
    again = Outbox(tmp_path / "state.sqlite")
    assert [message.id for message in again.due(hook.target, time.time(), host="http://127.0.0.1:9", most=9)] == [
        "msg_1",
        "msg_2",
        "msg_3",
    ]
    assert again.cursor("run") == Cursor(head=ChainHead(sequence=1, seal="s"), receipts=0)
    again.close()


EARLIER_SCHEMA = """
    CREATE TABLE messages (
        id VARCHAR NOT NULL, target VARCHAR NOT NULL, url VARCHAR NOT NULL, body VARCHAR NOT NULL,
        made_at FLOAT NOT NULL, next_at FLOAT NOT NULL, attempts INTEGER NOT NULL, PRIMARY KEY (id, target)
    );
    CREATE INDEX messages_by_target ON messages (target, next_at);
    CREATE TABLE cursors (
        run VARCHAR NOT NULL, sequence INTEGER NOT NULL, seal VARCHAR NOT NULL, receipts INTEGER NOT NULL, PRIMARY KEY (run)
    );
    CREATE TABLE overdue (run VARCHAR NOT NULL, request_id VARCHAR NOT NULL, PRIMARY KEY (run, request_id));
    INSERT INTO cursors VALUES ('run', 7, 'seal', 3);
    INSERT INTO messages VALUES ('msg_1', 'callbacks', 'https://a.example/x', 'body', 5.0, 5.0, 0);
    INSERT INTO messages VALUES ('msg_2', 'callbacks', 'https://a.example/y', 'body', 5.0, 9.0, 1);
    INSERT INTO messages VALUES ('msg_3', 'callbacks', 'http://b.example:81', 'body', 5.0, 9.0, 1);
"""
"""What version 0.2 made."""


def test_an_outbox_of_an_earlier_version_is_opened_with_what_it_has_and_is_as_quick_as_a_fresh_one(
    tmp_path: Path,
) -> None:
    with closing(sqlite3.connect(tmp_path / "state.sqlite")) as earlier:
        earlier.executescript(EARLIER_SCHEMA)
    for _ in range(2):
        outbox = Outbox(tmp_path / "state.sqlite")
        assert outbox.cursor("run") == Cursor(head=ChainHead(sequence=7, seal="seal"), receipts=3)
        assert outbox.hosts_due("callbacks", 8.0) == ["https://a.example"]
        assert sorted(outbox.hosts_due("callbacks", 9.0)) == ["http://b.example:81", "https://a.example"]
        assert [m.id for m in outbox.due("callbacks", 9.0, host="https://a.example", most=9)] == ["msg_1", "msg_2"]
        outbox.close()
    outbox = Outbox(tmp_path / "fresh.sqlite")
    outbox.close()
    assert indexes(tmp_path / "state.sqlite") == indexes(tmp_path / "fresh.sqlite")


def indexes(path: Path) -> set[tuple[str, str]]:
    with closing(sqlite3.connect(path)) as connection:
        return set(connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL"))


def steps_of(outbox: Outbox, read: Callable[[], object]) -> int:
    """Return how many instructions SQLite takes to read something, counted by tens."""
    steps = 0

    def count() -> int:
        nonlocal steps
        steps += 10
        return 0

    with outbox.database.reading() as connection:
        driver: Any = connection.connection.driver_connection
    driver.set_progress_handler(count, 10)
    read()
    driver.set_progress_handler(None, 10)
    return steps


def test_what_is_due_is_found_as_quickly_however_much_waits_for_one_host(outbox: Outbox) -> None:
    dead, other = "http://127.0.0.1:9", "http://127.0.0.1:10"
    counts = []
    for waiting in (50, 5000):
        messages = [
            Message(id=str(number), target="callbacks", url=f"{dead}/{number}", body="", made_at=5.0)
            for number in range(waiting)
        ]
        messages.append(Message(id="last", target="callbacks", url=f"{other}/", body="", made_at=5.0))
        outbox.advance("run", Cursor(head=ChainHead(sequence=1, seal="s"), receipts=0), messages)
        assert sorted(outbox.hosts_due("callbacks", 9.0)) == sorted([dead, other])
        counts.append(
            [
                steps_of(outbox, lambda: outbox.hosts_due("callbacks", 9.0)),
                steps_of(outbox, lambda: outbox.hosts_due("callbacks", 1.0)),  # nothing is due yet
                steps_of(outbox, lambda: outbox.due("callbacks", 9.0, host=dead, most=20)),
                steps_of(outbox, lambda: outbox.due("callbacks", 9.0, host=other, most=20)),
            ]
        )
    few, many = counts
    assert all(few)
    assert all(steps <= 2 * before for before, steps in zip(few, many, strict=True)), (few, many)


@pytest.mark.parametrize("waiting", [1000, pytest.param(100_000, marks=pytest.mark.nightly)])
def test_what_waits_for_a_dead_host_delays_no_message_to_another(tmp_path: Path, waiting: int) -> None:
    outbox = Outbox(tmp_path / "state.sqlite")
    with receiving() as quick, closing(socket.create_server(("127.0.0.1", 0))) as silent:
        dead = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        silent.close()  # it takes no connection
        box = [replace(message, url=dead) for message in to(quick, *(f"dead_{number}" for number in range(waiting)))]
        outbox.advance("run", Cursor(head=ChainHead(sequence=1, seal="s"), receipts=0), box)
        deliveries = Deliveries(outbox, [], [Callbacks()], count_for=lambda _target: uncounted)
        deliveries.begin()
        try:
            for number in range(5):
                cursor = Cursor(head=ChainHead(sequence=2 + number, seal="s"), receipts=0)
                outbox.advance("run", cursor, to(quick, f"quick_{number}"))
                wait_for(quick, number + 1)
            assert outbox.waiting() >= waiting
        finally:
            deliveries.close()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("state: a.sqlite", "neither a webhook nor opendsr"),
        ("webhooks: [{name: a, url: 'ftp://x.example/', secret_file: s}]", "url is no URL of https"),
        ("webhooks: [{name: a, url: 'http://x.example/', secret_file: s}]", "url is not encrypted"),
        ("webhooks: [{name: a, url: 'https://u:p@x.example/', secret_file: s}]", "url has a name or a password"),
        ("webhooks: [{name: a b, url: 'https://x.example/', secret_file: s}]", "webhooks.0.name"),
        ("webhooks: [{name: a, url: 'https://x.example/', secret_file: s, events: [gone]}]", "events"),
        ("webhooks: [{name: a, url: 'https://x.example/', secret_file: s, retry_hours: 0}]", "retry_hours"),
        ("webhooks: [&a {name: a, url: 'https://x.example/', secret_file: s}, *a]", "two webhooks are named a"),
        ("webhooks: [" + "{name: a, url: 'https://x.example/', secret_file: s}," * 40 + "]", "more than 32"),
        ("webhooks: [{name: a, secret_file: s}]", "url: must be given"),
    ],
)
def test_wrong_settings_are_refused_in_one_line(tmp_path: Path, text: str, problem: str) -> None:
    (tmp_path / "protocols.yaml").write_text(text)
    with pytest.raises(ConfigInvalid) as refusal:
        read_protocol_settings(tmp_path / "protocols.yaml")
    assert problem in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_secret_is_whole_or_refused_and_is_never_shown(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    with pytest.raises(ConfigInvalid, match="openssl rand"):
        read_secrets(file)
    for text in ("", "whsec_short", "whsec_" + "!" * 44, "ü", "whsec_" + base64.b64encode(b"x" * 65).decode()):
        file.write_text(text, encoding="utf-8")
        with pytest.raises(ConfigInvalid, match="24 to 64 bytes") as refusal:
            read_secrets(file)
        assert not text or text not in str(refusal.value)
    other = base64.b64encode(b"y" * 24).decode()
    file.write_text(f"whsec_{base64.b64encode(SECRET).decode()}\n{other}\n")
    assert read_secrets(file) == (SECRET, b"y" * 24)
