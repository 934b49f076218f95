"""Calls to servers that others name: no redirects, no proxies, and no private addresses unless they are allowed."""

import http.client
import ipaddress
import socket
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import Any

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError
from urllib3.util import Timeout, Url, parse_url

from raymu.errors import RaymuError

CONNECT_S = 5.0
READ_S = 10.0
"""Seconds between two parts of an answer."""
ANSWER_S = 20.0
"""Seconds until a server has answered, however small the parts are that it sends."""
REST_S = 2.0
"""Seconds until a part of the rest of an answer is there, and until no further part is waited for."""
_MOST_BYTES = 65_536
"""Bytes of an answer that are read."""
_MOST_ADDRESSES = 4
"""Addresses of a name that are tried."""
_TRANSLATED = ipaddress.ip_network("64:ff9b::/96")
"""IPv6 addresses that a network turns into those of IPv4 (RFC 6052)."""


class NotSent(RaymuError):
    """A call could not be made, or had no answer."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What a server answered. Nothing of its body is kept."""

    status: int
    retry_after_s: float | None = None
    """How long the server asks to wait; None if it does not say."""

    @property
    def is_taken(self) -> bool:
        """Whether the server took what it was sent. A redirect is not followed, and is no success."""
        return 200 <= self.status < 300


class _Timed:
    """A connection of urllib3 that is cut if the answer is not there in time."""

    sock: socket.socket | None
    _is_cut = False

    def getresponse(self) -> Any:
        timer = threading.Timer(ANSWER_S, self._cut)
        timer.daemon = True
        timer.start()
        try:
            response = super().getresponse()  # type: ignore[misc]
        finally:
            timer.cancel()
        if self._is_cut:
            response.close()
            raise TimeoutError
        return response

    def _cut(self) -> None:
        self._is_cut = True
        with suppress(OSError):
            if self.sock is not None:
                self.sock.shutdown(socket.SHUT_RDWR)


class _TimedHttp(_Timed, HTTPConnection):
    pass


class _TimedHttps(_Timed, HTTPSConnection):
    pass


class Conversation:
    """Calls to one host in a row, over one connection for as long as the host keeps it. One thread uses it."""

    def __init__(self, *, is_kept: bool = True) -> None:
        """Call nobody yet. is_kept: whether the connection is used again"""
        self._is_kept = is_kept
        self._pool: urllib3.HTTPConnectionPool | None = None
        self._place: tuple[object, ...] = ()

    def post(self, url: str, body: bytes, headers: Mapping[str, str], *, is_private_allowed: bool = False) -> Answer:
        """Send a POST once; once more if the host had left the connection since the call before.

        The name is looked up here, each of its addresses is checked, and the connection is made to one of these: a name
        that changes its address in between reaches no other.

        Args:
            url: Where to.
            body: The body.
            headers: Headers beside those of the body.
            is_private_allowed: Whether the addresses may be private ones.

        Raises:
            NotSent: Nothing was sent, or nothing came back.
        """
        parsed = parse_url(url)
        place = parsed.scheme, parsed.host, _port(parsed), is_private_allowed
        if self._pool is not None and place == self._place:
            try:
                return self._call(self._pool, parsed, body, headers)
            except (HTTPError, OSError) as error:
                self.close()
                if not _has_left(error):
                    raise NotSent(type(error).__name__) from error
        self.close()
        self._place = place
        problem = "no address answers"
        for address in _addresses(parsed, is_private_allowed=is_private_allowed)[:_MOST_ADDRESSES]:
            self._pool = _pool_to(address, parsed)
            try:
                return self._call(self._pool, parsed, body, headers)
            except (HTTPError, OSError) as error:  # its text may hold the URL
                problem = type(error).__name__
                self.close()
        raise NotSent(problem)

    def close(self) -> None:
        """End the connection."""
        if self._pool is not None:
            self._pool.close()
            self._pool = None

    def _call(self, pool: urllib3.HTTPConnectionPool, url: Url, body: bytes, headers: Mapping[str, str]) -> Answer:
        own = {"Host": url.netloc or "", "Content-Type": "application/json", "User-Agent": "raymu", **headers}
        response = pool.urlopen(
            "POST", url.request_uri, body=body, headers=own, redirect=False, retries=False, preload_content=False
        )
        try:
            answer = Answer(status=response.status, retry_after_s=_seconds(response.headers.get("Retry-After")))
            if self._is_kept:
                self._is_kept = _is_read(response)
            return answer
        finally:
            if self._is_kept:
                response.release_conn()
            else:
                response.close()
                self.close()


def post(url: str, body: bytes, headers: Mapping[str, str], *, is_private_allowed: bool = False) -> Answer:
    """Send a POST once, as `Conversation.post` does, over a connection of its own. Raises NotSent."""
    with closing(Conversation(is_kept=False)) as conversation:
        return conversation.post(url, body, headers, is_private_allowed=is_private_allowed)


def _pool_to(address: str, url: Url) -> urllib3.HTTPConnectionPool:
    timeout = Timeout(connect=CONNECT_S, read=READ_S)
    pool: urllib3.HTTPConnectionPool
    if url.scheme == "https":
        name = _bare(url)
        pool = urllib3.HTTPSConnectionPool(
            address, _port(url), timeout=timeout, retries=False, server_hostname=name, assert_hostname=name
        )
        pool.ConnectionCls = _TimedHttps
    else:
        pool = urllib3.HTTPConnectionPool(address, _port(url), timeout=timeout, retries=False)
        pool.ConnectionCls = _TimedHttp
    return pool


def _is_read(response: urllib3.BaseHTTPResponse) -> bool:
    """Read the rest of an answer, so that its connection can be used again; False if that is too much, or too slow."""
    sock = getattr(response.connection, "sock", None)
    if sock is None:  # the host ends the connection after each answer
        return False
    left, until = _MOST_BYTES, time.monotonic() + REST_S
    with suppress(HTTPError, OSError):
        sock.settimeout(REST_S)
        while left > 0 and time.monotonic() < until:
            part = response.read1(left, decode_content=False)
            if not part:
                return True
            left -= len(part)
    return False


def _has_left(error: Exception) -> bool:
    """Return whether the other side had closed a connection that was idle."""
    return isinstance(error.args[-1] if error.args else None, http.client.RemoteDisconnected | ConnectionError)


def _addresses(url: Url, *, is_private_allowed: bool) -> Sequence[str]:
    """Return the addresses of a server. Raises NotSent if it has none, or any that may not be called."""
    try:
        facts = socket.getaddrinfo(_bare(url), _port(url), type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise NotSent("its name has no address") from error
    addresses = list(dict.fromkeys(str(fact[4][0]) for fact in facts))
    if not is_private_allowed and not all(map(is_public, addresses)):
        raise NotSent("its address is private; allow private_addresses if that is meant")
    return addresses


def is_public(address: str) -> bool:
    """Return whether an address is one of the public internet, in whichever notation."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is not None:
            ip = ip.ipv4_mapped
        elif ip.sixtofour is not None or ip.teredo is not None or ip in _TRANSLATED:
            return False
    return ip.is_global and not ip.is_multicast


def _bare(url: Url) -> str:
    return (url.host or "").strip("[]")


def _port(url: Url) -> int:
    return url.port or (443 if url.scheme == "https" else 80)


def _seconds(text: str | None) -> float | None:
    """Read how long a server asks to wait. Dates are not read: the own pause does as well."""
    return float(text) if text is not None and text.isascii() and text.isdigit() and len(text) < 8 else None
