"""`raymu restore`."""

import sys
from contextlib import suppress

import click

from raymu.cli.command import RaymuCommand
from raymu.cli.options import EXIT_CODES, is_trusting, json_option, open_run, show, trust_option
from raymu.cli.parameter_types import DIRECTORY
from raymu.cli.work_progress import work_progress
from raymu.console.run_tables import show_verification
from raymu.errors import RunRolledBack


@click.command("restore", cls=RaymuCommand, example="raymu restore /mnt/backups/letter runs/letter")
@click.argument("backup", metavar="BACKUP", type=DIRECTORY)
@click.argument("run_dir", metavar="RUN", type=DIRECTORY)
@click.option("--journal", metavar="URL", help="The database for the journal, instead of that of the backed-up run.")
@click.option(
    "--accept-rollback",
    is_flag=True,
    help="The backup is older than the run that it replaces: compare the run with this state from now on.",
)
@trust_option
@json_option
def command(backup: str, run_dir: str, journal: str | None, accept_rollback: bool, as_json: bool) -> None:
    """Restore a run from a backup.

    RUN is a new folder, or a URI of an object store. The restored run is verified. What was revoked since the backup is
    revoked again if the run has a registry. Without one, the requests since then have to be given again.

    Exit code 0: restored, and the verification passes; 1: it fails; 3: it is inconclusive.
    """
    from raymu.restored_run import restore_files, revoke_again

    restored = restore_files(backup, run_dir, journal=journal, trust=is_trusting())
    click.echo(f"raymu: {restored}", err=True)
    with open_run(run_dir) as run:
        if accept_rollback:
            run.accept_rollback()
        with suppress(RunRolledBack):  # the verification says so
            run.require_not_rolled_back()
            with work_progress(is_shown=not as_json) as progress:
                if revoke_again(run, progress):
                    click.echo("raymu: what the registry has was revoked again", err=True)
        verification = run.verify()
    show(as_json, verification, lambda screen: show_verification(screen, verification))
    sys.exit(EXIT_CODES[verification.verdict])
