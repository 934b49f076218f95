"""`raymu stop`."""

import click

from raymu.cli.command import RaymuCommand
from raymu.cli.options import address_option, json_option, open_run, run_argument, show, trust_option
from raymu.console.run_tables import show_stopped


@click.command("stop", cls=RaymuCommand, example="raymu stop runs/letter")
@run_argument
@trust_option
@address_option
@json_option
def command(run_dir: str, address: str | None, as_json: bool) -> None:
    """Stop the coordinator that stays up.

    Its workers stop too. From then on, settle the run yourself before requests are due: the command says which.
    """
    run = open_run(run_dir, address=address)
    was_up = run.stop()
    unsettled = run.unsettled()
    document = {
        "run": run_dir,
        "is_up": False,
        "was_up": was_up,
        "unsettled": [
            {"request_id": deadline.request_id, "due_at": deadline.due_at.isoformat()} for deadline in unsettled
        ],
    }
    show(as_json, document, lambda screen: show_stopped(screen, run_dir, was_up=was_up, unsettled=unsettled))
