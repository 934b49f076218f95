"""`raymu backup`."""

import click

from raymu.cli.command import RaymuCommand
from raymu.cli.options import json_option, open_run, run_argument, show, trust_option
from raymu.cli.parameter_types import DIRECTORY


@click.command("backup", cls=RaymuCommand, example="raymu backup runs/letter /mnt/backups/letter")
@run_argument
@click.argument("target", metavar="TARGET", type=DIRECTORY)
@click.option("--check", is_flag=True, help="Read the files that are there, and copy again those that have rotted.")
@trust_option
@json_option
def command(run_dir: str, target: str, check: bool, as_json: bool) -> None:
    """Back a run up, also while it is up.

    TARGET is a new folder, or one with an earlier backup of the run, which is brought up to date: only what changed is
    copied, and what the run has purged since is destroyed there. It may be a URI of an object store. The backup has the
    keys of the run: guard it as the run.
    """
    backup = open_run(run_dir).backup(target, check=check)
    if backup.keeps_versions:
        click.echo(
            "raymu: the place keeps earlier versions of what is destroyed there, so revoked samples stay readable until "
            "these expire",
            err=True,
        )
    show(as_json, backup, lambda screen: screen.print(str(backup)))
