"""The server of the service: what it refuses to serve, and the process that serves."""

import ipaddress
import os
import socket
import ssl
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import uvicorn
from fastapi import FastAPI
from starlette.middleware.trustedhost import TrustedHostMiddleware

from raymu.api import Run
from raymu.errors import ConfigInvalid, RequestInvalid
from raymu.web.access_log import AccessLog
from raymu.web.app import build_app
from raymu.web.guards import Limits
from raymu.web.metrics import ServiceMetrics
from raymu.web.prediction_route import AnswerCall
from raymu.web.protocols import Protocols
from raymu.web.served_run import ServedRun, open_runs
from raymu.web.tokens import Tokens

_LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")
_LOOPBACK_PROXIES = "127.0.0.1,::1,::ffff:127.0.0.1"
"""Where a proxy may be that says who calls, and whether by HTTPS. FORWARDED_ALLOW_IPS names others."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ServerSettings:
    """Where the service is served, and how."""

    host: str = "127.0.0.1"
    port: int = 8765
    tokens: Path
    """The file of callers' tokens."""
    access_log: Path | None = None
    """The file that every call is written into; None writes none."""
    certificate: Path | None = None
    """PEM file with the certificate of the server; None serves without TLS."""
    private_key: Path | None = None
    """PEM file with its key."""
    protocols: Path | None = None
    """The file of settings of webhooks and of OpenDSR; None for neither."""
    limits: Limits = field(default_factory=Limits)
    labels_only: bool = False
    """Whether predictions have no probabilities, whatever callers ask for."""
    audits: tuple[Path, ...] = ()
    """Results of audits, which the pages of their runs show."""

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach the service."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def url(self) -> str:
        scheme = "http" if self.certificate is None else "https"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{scheme}://{host}:{self.port}"


def serve(runs: Sequence[Run], settings: ServerSettings, *, on_start: Callable[[str], None]) -> None:
    """Serve runs until the process is interrupted or terminated. What was accepted is committed then.

    Args:
        runs: The runs.
        settings: Where, and how.
        on_start: Called with the URL once it answers.

    Raises:
        ConfigInvalid: A certificate or a token is missing.
        RequestInvalid: The address is in use.
        RaymuError: What opening a run raises.
    """
    is_open = not Tokens(settings.tokens).has_any
    require_safe(settings, has_tokens=not is_open)
    app, protocols = assemble(runs, settings, is_open=is_open)
    if protocols is not None:
        protocols.begin()
    server = _Server(
        uvicorn.Config(
            app,
            host=settings.host,
            port=settings.port,
            log_level="error",
            access_log=False,
            server_header=False,
            ssl_certfile=None if settings.certificate is None else str(settings.certificate),
            ssl_keyfile=None if settings.private_key is None else str(settings.private_key),
            timeout_graceful_shutdown=30,
            forwarded_allow_ips=os.environ.get("FORWARDED_ALLOW_IPS") or _LOOPBACK_PROXIES,
        ),
        on_start=lambda port: on_start(settings.url.rsplit(":", 1)[0] + f":{port}"),
    )
    every_address = _every_address(settings.port) if settings.host == "::" else None
    try:
        with suppress(KeyboardInterrupt):  # uvicorn raises the signal again that ended it
            server.run([every_address] if every_address is not None else None)
    except SystemExit as ending:  # how uvicorn says that it could not bind
        if not server.started:
            raise RequestInvalid(
                f"{settings.host}:{settings.port} cannot be served on: it is in use, or no address of this machine"
            ) from ending
        raise
    finally:
        if protocols is not None:
            protocols.close()


def assemble(
    runs: Sequence[Run],
    settings: ServerSettings,
    *,
    is_open: bool,
    predict_through: Callable[[Mapping[str, ServedRun]], AnswerCall] | None = None,
) -> tuple[FastAPI, Protocols | None]:
    """Put the application together, with what it sends to others.

    Args:
        runs: The runs.
        settings: Where it is served, and how.
        is_open: Whether callers without a token may do everything until the first token is valid.
        predict_through: Returns what answers calls for predictions elsewhere; None answers them in this process.

    Raises:
        RaymuError: What opening a run or a file raises.
    """
    metrics = ServiceMetrics(settings.audits)
    served_runs = open_runs(runs, metrics.of_run)
    protocols = (
        None
        if settings.protocols is None
        else Protocols(settings.protocols, served_runs, count_for=metrics.of_receiver)
    )
    app = build_app(
        served_runs,
        tokens=Tokens(settings.tokens),
        log=AccessLog(settings.access_log),
        limits=settings.limits,
        labels_only=settings.labels_only,
        metrics=metrics,
        is_open=is_open,
        audits=settings.audits,
        opendsr=protocols.opendsr if protocols is not None else None,
        predict=None if predict_through is None else predict_through(served_runs),
    )
    if is_open:  # a page in a browser of this machine could call otherwise, under a name of its own
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=[*_LOOPBACK_NAMES, settings.host])
    return app, protocols


def require_safe(settings: ServerSettings, *, has_tokens: bool) -> None:
    """Raise ConfigInvalid if others could reach a service that asks for no token, or if a file of TLS is missing."""
    if not settings.is_loopback and not has_tokens:
        raise ConfigInvalid(
            f"{settings.host} can be reached from elsewhere, and no token is valid; make one by `raymu token create`, or "
            "serve on 127.0.0.1"
        )
    if (settings.certificate is None) != (settings.private_key is None):
        raise ConfigInvalid("TLS needs both a certificate and its key; give --tls-cert and --tls-key")
    for option, path in (("--tls-cert", settings.certificate), ("--tls-key", settings.private_key)):
        if path is not None and not path.is_file():
            raise ConfigInvalid(f"{option}: {path} is not a file")
    if settings.certificate is not None and settings.private_key is not None:
        _require_pair(settings.certificate, settings.private_key)


def _require_pair(certificate: Path, private_key: Path) -> None:
    """Raise ConfigInvalid unless the files are a certificate and its key, which asks for no passphrase."""

    def refuse_passphrase() -> str:
        raise ConfigInvalid(f"--tls-key: {private_key} asks for a passphrase; give a key without one")

    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, private_key, refuse_passphrase)
    except ssl.SSLError as error:
        fault = (
            "the key belongs to another certificate"
            if error.reason == "KEY_VALUES_MISMATCH"
            else "no certificate and its key, as PEM"
        )
        raise ConfigInvalid(f"--tls-cert and --tls-key: {certificate} and {private_key}: {fault}") from error
    except OSError as error:
        raise ConfigInvalid(f"--tls-cert and --tls-key cannot be read: {error.strerror}") from error


def _every_address(port: int) -> socket.socket | None:
    """Return a socket that listens to both kinds of addresses; None if the machine has none, or the port is taken.

    asyncio would listen to those of IPv6 alone.
    """
    if not socket.has_dualstack_ipv6():
        return None
    try:
        return socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=2048)
    except OSError:  # the server says what is wrong
        return None


class _Server(uvicorn.Server):
    """A server that says when it answers."""

    def __init__(self, config: uvicorn.Config, *, on_start: Callable[[int], None]) -> None:
        super().__init__(config)
        self._on_start = on_start

    async def startup(self, sockets: list[object] | None = None) -> None:  # type: ignore[override]
        await super().startup(sockets)  # type: ignore[arg-type]
        if self.started:
            self._on_start(self.servers[0].sockets[0].getsockname()[1])
