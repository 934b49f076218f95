"""`raymu status`."""

import click

from raymu.api import Run
from raymu.cli.command import RaymuCommand
from raymu.cli.options import address_option, json_option, open_run, run_argument, show, trust_option
from raymu.console.run_tables import show_status
from raymu.errors import DeviceUnavailable, RunUntrusted
from raymu.service.shard.messages import ShardLocations


@click.command("status", cls=RaymuCommand, example="raymu status runs/letter")
@run_argument
@trust_option
@address_option
@json_option
def command(run_dir: str, address: str | None, as_json: bool) -> None:
    """Show shards, requests, debt and deadlines.

    If a coordinator of the run is up, the nodes of its shards are shown too.
    """
    run = open_run(run_dir, address=address)
    locations, problem = _locations(run)
    status = run.status(locations=locations)
    show(as_json, status, lambda screen: show_status(screen, status, unknown_locations=problem))


def _locations(run: Run) -> tuple[ShardLocations, str | None]:
    """Return where the shards are, and why that is not known if the cluster is out of reach."""
    try:
        return run.locations(), None
    except (DeviceUnavailable, RunUntrusted) as problem:
        return {}, str(problem)
