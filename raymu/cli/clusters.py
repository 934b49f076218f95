"""Commands about the cluster that a run works on: jobs, and a coordinator that stays up."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from raymu.api import open_run
from raymu.cli.group import cli
from raymu.cli.options import address_option, json_option, run_argument, show
from raymu.config.yaml_file import read_settings
from raymu.core.uri import is_uri
from raymu.errors import DeviceUnavailable, RequestInvalid
from raymu.text import one_line

_LASTING = {"run_dir", "out_file", "out_dir"}
"""Parameters that name what a command works on, or writes."""
_HERE_BY_DEFAULT = {("train", "run_dir"), ("report", "out_file")}


@cli.command("submit", context_settings={"allow_interspersed_args": False})
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED, metavar="-- COMMAND...")
@click.option(
    "--address",
    required=True,
    envvar=["RAY_API_SERVER_ADDRESS", "RAY_ADDRESS"],
    help="The cluster's dashboard, such as http://127.0.0.1:8265, or the cluster.",
)
@click.option(
    "--working-dir",
    default=".",
    show_default=True,
    type=click.Path(path_type=Path),
    help="Folder that goes along, but for hidden files, runs, and `excludes` of the runtime environment.",
)
@click.option(
    "--runtime-env", "runtime_env_file", help="YAML file: Ray's runtime environment, such as pip or env_vars."
)
@json_option
def submit_command(
    command: tuple[str, ...], address: str, working_dir: Path, runtime_env_file: str | None, as_json: bool
) -> None:
    """Run another command as a Ray job, and follow it: with its output, its exit code, and its log on standard error.

    An interruption stops the job, too. Runs, and what is written, lie on storage that all nodes share.
    """
    _require_lasting_locations(command)
    runtime_env: dict[str, Any] = read_settings(runtime_env_file, ()) if runtime_env_file else {}
    try:
        from raymu.runtime.jobs.submission import submit  # Ray takes a second to import: only where it is used
    except ImportError as error:
        raise DeviceUnavailable(
            f"jobs need ray[default] ({error}); run pip install 'raymu[jobs]', on the cluster's nodes too"
        ) from error

    words = (*command, "--json") if as_json and "--json" not in command else command
    outcome = submit(address, working_dir, words, runtime_env=runtime_env, show=_say)
    click.echo(outcome.output, nl=False)
    if outcome.complaint:
        click.echo(outcome.complaint, err=True)
    sys.exit(outcome.code)


@cli.command("up")
@run_argument
@address_option
@json_option
def up_command(run_dir: str, address: str | None, as_json: bool) -> None:
    """Start a run's coordinator for good: it serves whoever asks, and settles in time what comes due."""
    was_up = open_run(run_dir, address=address).start()
    said = f"{run_dir} is up already" if was_up else f"{run_dir} is up, until `raymu down {run_dir}`"
    show(as_json, {"run": run_dir, "is_up": True, "was_up": was_up}, lambda screen: screen.say(said))


@cli.command("down")
@run_argument
@address_option
@json_option
def down_command(run_dir: str, address: str | None, as_json: bool) -> None:
    """End the coordinator that `raymu up` started, and its workers."""
    was_up = open_run(run_dir, address=address).stop()
    said = f"{run_dir} is down" if was_up else f"{run_dir} was not up on this cluster"
    show(as_json, {"run": run_dir, "is_up": False, "was_up": was_up}, lambda screen: screen.say(said))


def _require_lasting_locations(command: tuple[str, ...]) -> None:
    """Read a command as the job will. Raises RequestInvalid where it works in the job's folder, and UsageError."""
    with click.Context(cli) as context:
        words = click.Command.parse_args(cli, context, list(command))  # the group's own options; it leaves the rest
        if not words:
            raise click.UsageError("Missing command.")
        name, found, words = cli.resolve_command(context, words)
        assert name is not None
        assert found is not None
        with found.make_context(name, words, parent=context) as asked:
            for parameter in sorted(_LASTING & asked.params.keys()):
                if _is_in_the_jobs_folder(name, parameter, asked.params):
                    raise RequestInvalid(
                        f"{one_line(name)}: {asked.params[parameter] or 'what it writes'} would lie in the job's folder, "
                        "which is gone afterwards; give a whole path, on storage that all nodes share"
                    )


def _is_in_the_jobs_folder(command: str, parameter: str, asked: Mapping[str, Any]) -> bool:
    location = asked[parameter]
    if location is not None:
        return not (is_uri(location) or Path(location).is_absolute())
    if (command, parameter) == ("tune", "out_dir"):  # beside the run, where that is a folder
        return is_uri(asked["run_dir"])
    return (command, parameter) in _HERE_BY_DEFAULT


def _say(text: str) -> None:
    click.echo(text, err=True, nl=False)
