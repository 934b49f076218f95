"""Calls to servers that others name: no redirects, no proxies, and no private addresses unless they are allowed."""

import ipaddress
import socket
import threading
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
_MOST_ADDRESSES = 4
"""Addresses of a name that are tried."""
_TRANSLATED = ipaddress.ip_network("64:ff9b::/96")
"""IPv6 addresses that a network turns into those of IPv4 (RFC 6052)."""


class NotSent(RaymuError):
    """A call could not be made, or had no answer."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What a server answered. Its body is not read."""

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


def post(url: str, body: bytes, headers: Mapping[str, str], *, is_private_allowed: bool = False) -> Answer:
    """Send a POST once.

    The name is looked up here, each of its addresses is checked, and the connection is made to one of these: a name that
    changes its address in between reaches no other.

    Args:
        url: Where to.
        body: The body.
        headers: Headers beside those of the body.
        is_private_allowed: Whether the addresses may be private ones.

    Raises:
        NotSent: Nothing was sent, or nothing came back.
    """
    parsed = parse_url(url)
    addresses = _addresses(parsed, is_private_allowed=is_private_allowed)
    problem = "no address answers"
    for address in addresses[:_MOST_ADDRESSES]:
        try:
            return _post_to(address, parsed, body, headers)
        except (HTTPError, OSError) as error:  # its text may hold the URL
            problem = type(error).__name__
    raise NotSent(problem)


def _post_to(address: str, url: Url, body: bytes, headers: Mapping[str, str]) -> Answer:
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
    own = {"Host": url.netloc or "", "Content-Type": "application/json", "User-Agent": "raymu", **headers}
    with closing(pool):
        response = pool.urlopen(
            "POST", url.request_uri, body=body, headers=own, redirect=False, retries=False, preload_content=False
        )
        try:
            return Answer(status=response.status, retry_after_s=_seconds(response.headers.get("Retry-After")))
        finally:
            response.close()


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
