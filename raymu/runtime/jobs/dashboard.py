"""Connecting to the dashboard of a cluster, which accepts jobs."""

import http.client
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from ray.exceptions import AuthenticationError, RayError
from ray.job_submission import JobSubmissionClient

from raymu.errors import DeviceUnavailable
from raymu.text import one_line

CONNECT_S = 10.0
"""How long an address may take to answer."""
_TALKATIVE_LOGGERS = (
    "ray.dashboard.modules.dashboard_sdk",
    "ray.dashboard.modules.job.sdk",
    "ray._private.runtime_env",
)
"""Loggers that describe requests and packing on standard error."""


def connect(address: str) -> JobSubmissionClient:
    """Connect to the dashboard of a cluster.

    Raises:
        DeviceUnavailable: No dashboard answers, or it asks for a token.
    """
    for name in _TALKATIVE_LOGGERS:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        address = _reachable(address)
        # Ray prefers RAY_ADDRESS to the address that it is given, and this variable to both.
        with _variable("RAY_API_SERVER_ADDRESS", address):
            return JobSubmissionClient(address)
    except AuthenticationError as error:
        raise DeviceUnavailable(
            f"{address}: asks for a token, or refuses the one it got; set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN, or "
            "RAY_AUTH_TOKEN_PATH to the file that has it"
        ) from error
    except (OSError, RuntimeError, ValueError, RayError) as error:
        raise DeviceUnavailable(
            f"{address}: no Ray dashboard answers there ({one_line(error)}); start Ray there with "
            "`ray start --head`, and ray[default] installed"
        ) from error


def _reachable(address: str) -> str:
    """Return the address with `http://` before a dashboard's. Raises OSError if nothing answers within CONNECT_S."""
    parts = urlsplit(address if "://" in address else f"//{address}")
    if parts.hostname is None or parts.port is None:
        return address
    socket.create_connection((parts.hostname, parts.port), timeout=CONNECT_S).close()
    is_dashboard = not parts.scheme and _speaks_http(parts.hostname, parts.port)
    return f"http://{parts.netloc}" if is_dashboard else address


def _speaks_http(host: str, port: int) -> bool:
    """Whether a dashboard is there. The cluster's own port speaks another protocol."""
    connection = http.client.HTTPConnection(host, port, timeout=CONNECT_S)
    try:
        connection.request("GET", "/api/version")
        connection.getresponse()
    except (http.client.HTTPException, OSError):
        return False
    finally:
        connection.close()
    return True


@contextmanager
def _variable(name: str, value: str) -> Iterator[None]:
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
