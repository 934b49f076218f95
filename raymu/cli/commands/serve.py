"""`raymu serve`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import click

from raymu.cli.command import RaymuCommand
from raymu.cli.json_document import emit
from raymu.cli.options import address_option, json_option, open_run, trust_option
from raymu.cli.parameter_types import DIRECTORY, FILE
from raymu.errors import ConfigInvalid, RayServeUnfit
from raymu.runtime.known_cluster import named_cluster

if TYPE_CHECKING:
    from raymu.api import Run

ServeOnRay: TypeAlias = Callable[..., None]

REPLICAS = 2
"""Replicas on Ray Serve that predict, unless the caller says otherwise."""


@click.command("serve", cls=RaymuCommand, example="raymu serve runs/letter runs/customers --port 8765")
@click.argument("run_dirs", metavar="RUN...", nargs=-1, required=True, type=DIRECTORY)
@click.option("--host", metavar="ADDRESS", default="127.0.0.1", show_default=True, help="Address to serve on.")
@click.option(
    "--port",
    metavar="N",
    default=8765,
    show_default=True,
    type=click.IntRange(0, 65535),
    help="Port; 0 takes a free one.",
)
@click.option("--tokens", metavar="FILE", type=FILE, help="The file of callers' tokens, instead of the user's own.")
@click.option("--access-log", metavar="FILE", type=FILE, help="File that every call is written into, without ids.")
@click.option("--protocols", metavar="FILE", type=FILE, help="Settings of webhooks and of OpenDSR, YAML.")
@click.option("--tls-cert", metavar="FILE", type=FILE, help="Certificate of the server, PEM.")
@click.option("--tls-key", metavar="FILE", type=FILE, help="Key of the certificate, PEM.")
@click.option(
    "--calls-per-second",
    metavar="N",
    type=click.FloatRange(0.001, 1e6),
    help="Calls of one caller in a second, on average. The default sets no limit.",
)
@click.option(
    "--labels-only",
    is_flag=True,
    help="Answer without probabilities, which reveal more about single training samples, whatever callers ask for.",
)
@click.option(
    "--audit-file",
    "audit_files",
    metavar="FILE",
    multiple=True,
    type=FILE,
    help="Result of `raymu audit --json`, shown on the page of its run. Repeat it for more.",
)
@click.option(
    "--on",
    "place",
    type=click.Choice(["auto", "ray", "local"]),
    default="auto",
    show_default=True,
    help="Serve on Ray Serve, or in this process. auto: on Ray Serve if the settings, --address or RAY_ADDRESS name a "
    "cluster, and no run has cluster.fleet: local.",
)
@click.option(
    "--replicas",
    metavar="N",
    type=click.IntRange(1, 1000),
    help=f"Replicas on Ray Serve that predict; {REPLICAS} by default.",
)
@click.option(
    "--cpus-per-replica",
    metavar="N",
    type=click.FloatRange(0, 1024),
    help="CPUs of the cluster that each replica reserves, and that repairs do not get then; none by default.",
)
@address_option
@trust_option
@json_option
def command(
    run_dirs: tuple[str, ...],
    host: str,
    port: int,
    tokens: str | None,
    access_log: str | None,
    protocols: str | None,
    tls_cert: str | None,
    tls_key: str | None,
    calls_per_second: float | None,
    labels_only: bool,
    audit_files: tuple[str, ...],
    place: str,
    replicas: int | None,
    cpus_per_replica: float | None,
    address: str | None,
    as_json: bool,
) -> None:
    """Serve deletions and predictions over HTTP.

    There are pages for people at /.

    One deletion is sent to every run that holds its subject. It is committed when the answer 202 comes, and is carried out
    whatever happens then. Other commands may work on the runs meanwhile. On this machine alone no token is needed, unless
    one was made by `raymu token create`.

    It ends with Ctrl-C, or when it is terminated.
    """
    runs = [open_run(run_dir, address=address) for run_dir in run_dirs]
    serve_on_ray = _ray_service(place, runs)
    if serve_on_ray is None and (replicas is not None or cpus_per_replica is not None):
        raise click.UsageError("--replicas and --cpus-per-replica are for Ray Serve; add --on ray")
    try:
        from raymu.web.guards import Limits
        from raymu.web.server import ServerSettings, serve
        from raymu.web.tokens import tokens_path
    except ImportError as error:
        raise ConfigInvalid(f"{error.name} is not installed; pip install 'raymu[serve]'") from error

    def say(url: str, on: str) -> None:
        if as_json:
            emit("serve", {"url": url, "runs": list(run_dirs), "on": on})
        else:
            click.echo(f"serving on {url}{' by Ray Serve' if on == 'ray' else ''} (Ctrl-C ends it)")
        sys.stdout.flush()

    settings = ServerSettings(
        host=host,
        port=port,
        tokens=Path(tokens) if tokens else tokens_path(),
        access_log=Path(access_log) if access_log else None,
        protocols=Path(protocols) if protocols else None,
        certificate=Path(tls_cert) if tls_cert else None,
        private_key=Path(tls_key) if tls_key else None,
        labels_only=labels_only,
        limits=Limits(calls_per_s=calls_per_second),
        audits=tuple(map(Path, audit_files)),
    )
    if serve_on_ray is not None:
        try:
            serve_on_ray(
                runs,
                settings,
                replicas=replicas or REPLICAS,
                cpus_per_replica=cpus_per_replica or 0.0,
                address=address,
                on_start=partial(say, on="ray"),
            )
            return
        except RayServeUnfit as error:
            if place == "ray":
                raise
            click.echo(f"raymu: serving in this process: {error}", err=True)
    serve(runs, settings, on_start=partial(say, on="local"))


def _ray_service(place: str, runs: Sequence[Run]) -> ServeOnRay | None:
    """Return what serves on Ray Serve; None if this process serves. Raises ConfigInvalid."""
    local = next((run for run in runs if run.cluster.fleet == "local"), None)
    if place == "ray" and local is not None:
        raise ConfigInvalid(f"{local.location}: cluster.fleet is local, which keeps Ray out of it; give --on local")
    if place == "local" or local is not None:
        return None
    if place == "auto" and not any(named_cluster(run.cluster.address) for run in runs):
        return None
    try:
        from raymu.web.ray_service import serve_on_ray
    except ImportError as error:
        package = (error.name or "a package").partition(".")[0]
        missing = f"Ray Serve is not installed ({package} is missing); pip install 'raymu[ray-serve]'"
        if place == "ray":
            raise ConfigInvalid(missing) from error
        click.echo(f"raymu: serving in this process: {missing}", err=True)
        return None
    return serve_on_ray
