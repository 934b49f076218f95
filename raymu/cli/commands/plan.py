"""`raymu plan`."""

from typing import Any

import click

from raymu.cli.command import RaymuCommand
from raymu.cli.options import json_option, open_run, run_argument, show, trust_option
from raymu.cli.parameter_types import POSITIVE
from raymu.cli.request_options import read_revocation, request_options
from raymu.console.request_tables import show_forecast


@click.command("plan", cls=RaymuCommand, example="raymu plan runs/letter --id 17 --strategy hs")
@run_argument
@request_options
@click.option("--workers", type=POSITIVE, help="The number of workers. By default, as many as trained the run.")
@trust_option
@json_option
def command(run_dir: str, workers: int | None, as_json: bool, **request: Any) -> None:
    """Forecast what a request would cost.

    The forecast names the remedy of each affected shard and the cost of every strategy. Nothing is changed.
    """
    revocation = read_revocation(run_dir, **request)
    with open_run(run_dir) as run:
        forecast = run.plan(
            revocation.ids,
            owner=revocation.owner,
            strategy=revocation.strategy,
            boundary=revocation.boundary,
            ignore_unknown=revocation.ignore_unknown,
            workers=workers,
        )
    show(as_json, forecast, lambda screen: show_forecast(screen, forecast))
