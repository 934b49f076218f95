"""The service on Ray Serve, and what its replicas are built of.

One replica, the ingress, takes all calls: it has the tokens, the rates, the access log, the pages and the intake of requests,
as the process of `raymu serve` has them without Ray. It hands calls for predictions on to the replicas that predict.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from raymu.api import Run
from raymu.core.trust import Trust
from raymu.core.uri import redacted
from raymu.errors import RayServeUnfit
from raymu.runtime.serving import Answer, Listener, Parts, ServedOnRay, free_port
from raymu.service.served import watch_of
from raymu.store.run import RunStore
from raymu.web.prediction_route import AnswerCall
from raymu.web.predictors import PredictionCall, PredictionReply, Predictors
from raymu.web.problems import refusal_of
from raymu.web.refusals import Refused
from raymu.web.served_run import ServedRun, run_names
from raymu.web.server import ServerSettings, assemble, require_safe
from raymu.web.tokens import Tokens

ATTEMPTS = 8
"""How often a call is handed on again because a deletion was acknowledged before its answer came."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RayRuns:
    """The runs of a service, as its replicas open them."""

    locations: tuple[str, ...]
    address: str | None
    trust: Trust
    """That of the user who started the service."""

    def open(self) -> list[Run]:
        """Open the runs. Raises RaymuError."""
        return [Run(location, address=self.address, trust=self.trust) for location in self.locations]


@dataclass(frozen=True, slots=True)
class Problem:
    """What a replica answers to a call that it refuses. An exception would lose its facts on the way."""

    status: int
    text: str


def serve_on_ray(
    runs: Sequence[Run],
    settings: ServerSettings,
    *,
    replicas: int,
    cpus_per_replica: float,
    on_start: Callable[[str], None],
    address: str | None = None,
) -> None:
    """Serve runs on Ray Serve until the process is interrupted or terminated. What was accepted is committed then.

    Args:
        runs: The runs.
        settings: Where, and how. Files are those of this machine, on which the ingress stays.
        replicas: Replicas that predict.
        cpus_per_replica: CPUs that each of them reserves.
        on_start: Called with the URL once it answers.
        address: The cluster that the runs were opened with, instead of the configured one.

    Raises:
        ConfigInvalid: A certificate or a token is missing.
        RayServeUnfit: Ray Serve is up on the cluster for something else, or takes calls on another machine.
        DeviceUnavailable: The cluster cannot be joined, or the service does not come up on it.
        RequestInvalid: The address is in use.
    """
    is_open = not Tokens(settings.tokens).has_any
    require_safe(settings, has_tokens=not is_open)
    if settings.port == 0:
        settings = replace(settings, port=free_port(settings.host))
    listener = Listener(
        host=settings.host,
        port=settings.port,
        certificate=settings.certificate,
        private_key=settings.private_key,
    )
    locations = tuple(run.location for run in runs)
    opened = RayRuns(locations=locations, address=address, trust=runs[0].trust)
    parts = partial(
        _parts,
        opened,
        absolute_files(settings),
        is_open=is_open,
        replicas=replicas,
        cpus_per_replica=cpus_per_replica,
        replicas_stay=any(map(_is_of_this_machine, runs)),
    )
    cluster = _cluster_of(runs)
    with ServedOnRay(parts, listener, address=cluster) as served:
        on_start(settings.url)
        try:
            served.wait()
        except KeyboardInterrupt:
            return


def _parts(
    runs: RayRuns,
    settings: ServerSettings,
    node: str,
    owner: int,
    *,
    is_open: bool,
    replicas: int,
    cpus_per_replica: float,
    replicas_stay: bool,
) -> Parts:
    return Parts(
        build_app=partial(build_ingress, runs, settings, is_open),
        build_answer=partial(build_replica, runs, settings.labels_only),
        replicas=replicas,
        cpus_per_replica=cpus_per_replica,
        node=node,
        owner=owner,
        replicas_stay=replicas_stay,
    )


def build_ingress(runs: RayRuns, settings: ServerSettings, is_open: bool, ask: Answer) -> Any:
    """Build the application that takes all calls.

    Args:
        runs: The runs.
        settings: Where it is served, and how.
        is_open: Whether callers without a token may do everything until the first token is valid.
        ask: Asks a replica.

    Raises:
        RaymuError: What opening a run raises.
    """

    def predict_through(served_runs: Mapping[str, ServedRun]) -> AnswerCall:
        return partial(_predict, ask, served_runs)

    app, protocols = assemble(runs.open(), settings, is_open=is_open, predict_through=predict_through)

    async def with_protocols(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "lifespan" or protocols is None:
            await app(scope, receive, send)
            return
        protocols.begin()
        try:
            await app(scope, receive, send)
        finally:
            protocols.close()

    return with_protocols


def build_replica(runs: RayRuns, labels_only: bool) -> Answer:
    """Build what predicts in a replica. Each answer asks the journal before and after, as without Ray.

    A replica that cannot ask reads the run anew, which fails: it answers 503.
    """
    opened = runs.open()
    predictors = Predictors(dict(zip(run_names(opened), opened, strict=True)), labels_only=labels_only)

    async def answer(call: PredictionCall) -> PredictionReply | Problem:
        try:
            return await predictors.answer(call)
        except Exception as error:
            if (refusal := refusal_of(error)) is None:
                raise
            return Problem(refusal.status, refusal.problem)

    return answer


async def _predict(ask: Answer, served_runs: Mapping[str, ServedRun], call: PredictionCall) -> PredictionReply:
    """Have a replica answer, again if a deletion was acknowledged meanwhile: the replica has looked before that.

    Raises Refused, DeviceUnavailable.
    """
    for _ in range(ATTEMPTS):
        accepted = {name: served.accepted for name, served in served_runs.items()}
        reply = await ask(call)
        if isinstance(reply, Problem):
            raise Refused(reply.status, reply.text)
        if served_runs[reply.run].accepted == accepted[reply.run]:
            return reply
    raise Refused(503, "deletions came faster than the answer; call again, with fewer samples at once")


def absolute_files(settings: ServerSettings) -> ServerSettings:
    """Return settings whose files mean the same to a process with another working directory."""

    def absolute(path: Path | None) -> Path | None:
        return None if path is None else path.expanduser().absolute()

    return replace(
        settings,
        tokens=settings.tokens.expanduser().absolute(),
        access_log=absolute(settings.access_log),
        protocols=absolute(settings.protocols),
        audits=tuple(path.expanduser().absolute() for path in settings.audits),
    )


def _cluster_of(runs: Sequence[Run]) -> str | None:
    """Return the address of the cluster that the runs name; None if none does. Raises RayServeUnfit if they name several."""
    addresses = sorted({run.cluster.address for run in runs if run.cluster.address})
    if len(addresses) > 1:
        named = " and ".join(map(redacted, addresses[:2]))
        raise RayServeUnfit(f"the runs name different clusters, {named}; serve them apart, or name one by --address")
    return addresses[0] if addresses else None


def _is_of_this_machine(run: Run) -> bool:
    """Return whether a run's files or its journal lie on a disk of this machine, which another one may not have."""
    store = RunStore(run.location, trust=run.trust)
    return store.files.local is not None or watch_of(store).is_local
