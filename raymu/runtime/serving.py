"""A service on Ray Serve: one replica takes all calls, and any number of replicas predict for it.

This module starts, watches and ends them. What they do is handed in by the floors above, as functions that are called in the
replicas, since neither an application nor a model travels.
"""

import asyncio
import logging
import socket
import time
import warnings
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from ray import serve
from ray.exceptions import RayActorError, RayError
from ray.serve.config import HTTPOptions, ProxyLocation
from ray.serve.exceptions import BackPressureError, RayServeException
from ray.serve.schema import ApplicationStatus, LoggingConfig, ServeStatus

from raymu.errors import DeviceUnavailable, RayServeUnfit, RequestInvalid
from raymu.runtime.cluster import join_cluster, leave_cluster
from raymu.runtime.nodes import address_resource, is_head
from raymu.runtime.owner_presence import OwnerPresence, watch_owner
from raymu.text import one_line

APPLICATION = "raymu"
"""Name of the application on Ray Serve."""
INGRESS, PREDICTIONS = "ingress", "predictions"
"""Names of its deployments."""

Answer: TypeAlias = Callable[[Any], Awaitable[Any]]
"""Answers a message."""
App: TypeAlias = Callable[..., Awaitable[None]]
"""An ASGI application."""

_ATTEMPTS = 4
"""How often a message is sent if the replica that had it is lost. To predict twice changes nothing."""
_MOST_CALLS = 10_000
"""Calls that the ingress works on at once. It refuses by its own rules."""
_MOST_MESSAGES = 16
"""Messages that one replica works on at once. Others wait for the next that is free."""
_MOST_WAITING = 256
"""Messages that wait for a replica in the memory of the ingress, with what they carry. Further ones are refused."""
_END_S = 60.0
"""How long the ingress may take to end: it commits what has arrived, and ends after the stage that is trained."""
_LOOK_S = 1.0
"""Seconds between two looks at whether the application is up."""
_QUIET = LoggingConfig(log_level="WARNING", enable_access_log=False)
"""Ray's own log of calls has their paths. The access log of the service has their routes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Parts:
    """The parts of a service, built in the replicas."""

    build_app: Callable[[Answer], App]
    """Builds the application that takes all calls. It is called with what asks a replica."""
    build_answer: Callable[[], Answer]
    """Builds what answers messages in a replica."""
    replicas: int
    cpus_per_replica: float
    """CPUs that each replica reserves. What is reserved is not there for repairs."""
    node: str
    """Resource of the node that the ingress stays on, where its files are."""
    replicas_stay: bool
    """Whether the replicas stay there too, since the journal is a file of that node."""
    owner: int
    """Port of the presence of the process that the application ends with, on that node."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Listener:
    """Where Ray Serve takes calls."""

    host: str
    port: int
    certificate: Path | None = None
    """PEM file with the certificate, on every node that takes calls; None for no TLS."""
    private_key: Path | None = None


class _Replica:
    """A replica that answers messages."""

    def __init__(self, build_answer: Callable[[], Answer]) -> None:
        self._answer = build_answer()

    async def __call__(self, message: Any) -> Any:
        return await self._answer(message)


def _application(parts: Parts) -> serve.Application:
    """Return the application as Ray Serve takes it."""
    build_app, owner = parts.build_app, parts.owner

    def build_ingress() -> App:  # called in the replica
        handle = serve.get_deployment_handle(PREDICTIONS, app_name=serve.get_replica_context().app_name)

        async def ask(message: Any) -> Any:
            return await _ask(handle, message)

        watch_owner(owner, _end_without_owner)
        return build_app(ask)

    here = {"resources": {parts.node: 0.001}}
    predictions = serve.deployment(
        name=PREDICTIONS,
        num_replicas=parts.replicas,
        max_ongoing_requests=_MOST_MESSAGES,
        max_queued_requests=_MOST_WAITING,
        ray_actor_options={"num_cpus": parts.cpus_per_replica, **(here if parts.replicas_stay else {})},
        health_check_period_s=2.0,
        logging_config=_QUIET,
    )(_Replica)
    ingress = serve.deployment(
        name=INGRESS,
        num_replicas=1,  # one place for rates, tokens, the access log and the intake of requests
        max_ongoing_requests=_MOST_CALLS,
        ray_actor_options={"num_cpus": 0, **here},
        graceful_shutdown_timeout_s=_END_S,
        graceful_shutdown_wait_loop_s=0.2,
        health_check_period_s=2.0,
        logging_config=_QUIET,
    )(serve.ingress(build_ingress)())
    return ingress.bind(predictions.bind(parts.build_answer))


async def _ask(handle: Any, message: Any) -> Any:
    """Send a message to a replica, to another if that one is lost. Raises DeviceUnavailable."""
    for attempt in range(_ATTEMPTS):
        try:
            return await handle.remote(message)
        except (BackPressureError, RayActorError, RayServeException) as problem:
            last = problem
            await asyncio.sleep(0.1 * 2**attempt)
    raise DeviceUnavailable("no replica can predict now; call again") from last


class ServedOnRay:
    """An application that is up on Ray Serve, from the entry of the context to its exit, or to the end of the process."""

    def __init__(self, make_parts: Callable[[str, int], Parts], listener: Listener, *, address: str | None) -> None:
        """Name what is to be served.

        Args:
            make_parts: Returns the parts, by the resource of this process's node and by the port of its presence.
            listener: Where calls are taken.
            address: The cluster, as `cluster.address` has it.
        """
        self._make_parts, self._listener, self._address = make_parts, listener, address
        self._presence: OwnerPresence | None = None

    def __enter__(self) -> "ServedOnRay":
        """Join the cluster, or start one, and bring the application up on it.

        Raises:
            RayServeUnfit: Ray Serve is up there already, or takes calls on another machine.
            DeviceUnavailable: The cluster cannot be joined, or the service does not come up.
            RequestInvalid: The address cannot be served on.
        """
        logging.getLogger("ray.serve").setLevel(logging.WARNING)  # it tells of each step
        join_cluster(self._address)
        try:
            self._require_free()
            location, options = self._proxy_location(), self._http_options()
            self._presence = OwnerPresence()
            try:
                serve.start(proxy_location=location, http_options=options, logging_config=_QUIET)
                self._run(self._presence)
            except BaseException:
                _take_down()
                raise
        except BaseException:
            self._leave()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        """End the application, and Ray Serve, unless others use it since."""
        try:
            _take_down()
        finally:
            self._leave()

    def wait(self) -> None:
        """Wait for ever. Raises DeviceUnavailable if somebody else ends the application."""
        while True:
            time.sleep(_LOOK_S)
            try:
                is_up = APPLICATION in serve.status().applications
            except (RayError, RayServeException):  # its controller is lost
                is_up = False
            if not is_up:
                raise DeviceUnavailable("the application was deleted from Ray Serve; serve it again")

    def _leave(self) -> None:
        if self._presence is not None:
            self._presence.close()
        leave_cluster()

    def _run(self, presence: OwnerPresence) -> None:
        app = _application(self._make_parts(address_resource(), presence.port))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Ray, of its own settings
            try:
                serve.run(app, name=APPLICATION, route_prefix="/", logging_config=_QUIET)
            except RuntimeError as error:
                raise DeviceUnavailable(
                    f"Ray Serve cannot run the service ({_reason(serve.status(), error)})"
                ) from error

    def _require_free(self) -> None:
        """Raise RayServeUnfit if Ray Serve is up: its address and its TLS cannot be changed."""
        status = serve.status()
        if status.proxies or status.applications:
            names = ", ".join(status.applications) or "nothing"
            raise RayServeUnfit(
                f"Ray Serve is up on this cluster, for {one_line(names)}, with an address of its own; end it by "
                "`serve shutdown`, or give --on local"
            )

    def _proxy_location(self) -> ProxyLocation:
        """Return where calls are taken: at an address of the head, or on each node with a replica if no address is named."""
        if self._listener.host in ("0.0.0.0", "::"):
            return ProxyLocation.EveryNode
        if not is_head():
            raise RayServeUnfit(
                f"the head of the cluster takes calls for {self._listener.host}, and is another machine; serve there, or on "
                "every node by --host 0.0.0.0"
            )
        return ProxyLocation.HeadOnly

    def _http_options(self) -> HTTPOptions:
        require_free_port(self._listener.host, self._listener.port)
        return HTTPOptions(
            host=self._listener.host,
            port=self._listener.port,
            ssl_certfile=None if self._listener.certificate is None else str(self._listener.certificate.absolute()),
            ssl_keyfile=None if self._listener.private_key is None else str(self._listener.private_key.absolute()),
        )


def _take_down() -> None:
    """End the application, and Ray Serve if nobody else uses it. It does nothing where it is down."""
    with suppress(RayServeException, TimeoutError):
        serve.delete(APPLICATION)
    if not serve.status().applications:
        serve.shutdown()  # type: ignore[no-untyped-call]


def _end_without_owner() -> None:
    """Have the controller end the application, from within it, and Ray Serve if nobody else uses it."""
    if set(serve.status().applications) <= {APPLICATION}:
        serve.shutdown()  # type: ignore[no-untyped-call]
    else:
        serve.delete(APPLICATION)


def require_free_port(host: str, port: int) -> None:
    """Raise RequestInvalid if an address of this machine cannot be served on. Ray Serve would try for ever."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((host, port))
    except OSError as error:
        raise RequestInvalid(
            f"{host}:{port} cannot be served on: it is in use, or no address of this machine"
        ) from error


def free_port(host: str) -> int:
    """Return a port that nobody uses. Raises RequestInvalid."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family) as listener:
            listener.bind((host, 0))
            return int(listener.getsockname()[1])
    except OSError as error:
        raise RequestInvalid(f"{host} cannot be served on: it is no address of this machine") from error


def _reason(status: ServeStatus, error: Exception) -> str:
    """Return why an application does not come up: the last line of what its replica raised."""
    application = status.applications.get(APPLICATION)
    if application is None or application.status is not ApplicationStatus.DEPLOY_FAILED:
        return one_line(error)
    messages = [deployment.message for deployment in application.deployments.values() if deployment.message]
    lines = [line.strip() for message in messages for line in message.splitlines() if line.strip()]
    return one_line(lines[-1] if lines else application.message or error)
