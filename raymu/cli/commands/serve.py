"""`raymu serve`."""

import sys
from pathlib import Path

import click

from raymu.cli.command import RaymuCommand
from raymu.cli.json_document import emit
from raymu.cli.options import json_option, open_run, trust_option
from raymu.cli.parameter_types import DIRECTORY, FILE
from raymu.errors import ConfigInvalid


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
    as_json: bool,
) -> None:
    """Serve deletions and predictions over HTTP.

    There are pages for people at /.

    One deletion is sent to every run that holds its subject. It is committed when the answer 202 comes, and is carried out
    whatever happens then. Other commands may work on the runs meanwhile. On this machine alone no token is needed, unless
    one was made by `raymu token create`.

    It ends with Ctrl-C, or when it is terminated.
    """
    try:
        from raymu.web.guards import Limits
        from raymu.web.server import ServerSettings, serve
        from raymu.web.tokens import tokens_path
    except ImportError as error:
        raise ConfigInvalid(f"{error.name} is not installed; pip install 'raymu[serve]'") from error

    def say(url: str) -> None:
        if as_json:
            emit("serve", {"url": url, "runs": list(run_dirs)})
            sys.stdout.flush()
        else:
            click.echo(f"serving on {url} (Ctrl-C ends it)")

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
    serve([open_run(run_dir) for run_dir in run_dirs], settings, on_start=say)
