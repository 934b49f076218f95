"""`raymu job submit`."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from raymu.cli.command import RaymuCommand
from raymu.cli.commands.train import split_words
from raymu.cli.options import json_option
from raymu.cli.parameter_types import DIRECTORY, FILE
from raymu.config.yaml_file import read_settings
from raymu.core.uri import is_uri
from raymu.data.named_file import STANDARD_INPUT
from raymu.errors import DeviceUnavailable, RequestInvalid
from raymu.text import one_line

_LOCATIONS = {"run_dir", "out_file", "out_dir"}
"""Parameters that name what a command works on or writes."""
_IDENTITIES = {
    "ids": "--id",
    "owner": "--owner",
    "owners": "--owner",
    "keys": "--idempotency-key",
    "exclude_owners": "--exclude-owner",
    "key": "--idempotency-key",
}
"""Options whose values may name people. Ray's dashboard and its logs show the command line of a job."""
_ID_FILES = {"ids_file", "owner_file", "key_file", "requests_file", "exclude_file", "exclude_owner_file"}
"""Parameters that name a file with ids. It must not be copied to the disks of Ray's nodes."""
_JOB_NAMES = {"job", "submit"}
"""The group of these commands, and the old name of its command. What they run is not parsed here."""
_LOCAL_DEFAULTS = {("train", "run_dir"), ("report", "out_file")}
"""Parameters whose default is a path in the working directory."""


@click.group("job", invoke_without_command=True)
@click.pass_context
def command(ctx: click.Context) -> None:
    """Run a command as a Ray job."""
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


@command.command(
    "submit",
    cls=RaymuCommand,
    example="raymu job submit --address http://127.0.0.1:8265 -- status /runs/letter",
    context_settings={"allow_interspersed_args": False},
)
@click.argument("words", nargs=-1, required=True, type=click.UNPROCESSED, metavar="-- COMMAND...")
@click.option(
    "--address",
    metavar="ADDRESS",
    required=True,
    envvar=["RAY_API_SERVER_ADDRESS", "RAY_ADDRESS"],
    help="The dashboard of the cluster, such as http://127.0.0.1:8265, or the address of the cluster.",
)
@click.option(
    "--working-dir",
    default=".",
    show_default=True,
    type=DIRECTORY,
    help="The folder to copy to the job, without hidden files, runs, and the `excludes` of the runtime environment.",
)
@click.option(
    "--runtime-env", type=FILE, help="A YAML file with a Ray runtime environment, such as pip packages or env_vars."
)
@json_option
def submit_command(
    words: tuple[str, ...], address: str, working_dir: str, runtime_env: str | None, as_json: bool
) -> None:
    """Run a command as a Ray job.

    The log of the job is printed on standard error, and its result on standard output; the exit code is that of the
    command. Interrupting this command stops the job. Runs, output files and files with sample ids have to be on storage
    that all nodes share.
    """
    _require_shared_locations(words)
    environment: dict[str, Any] = read_settings(runtime_env, ()) if runtime_env else {}
    try:
        from raymu.runtime.jobs.submission import submit
    except ImportError as error:
        raise DeviceUnavailable(
            f"jobs need ray[default] ({error}); run pip install 'raymu[jobs]', also on the nodes of the cluster"
        ) from error

    words = (*words, "--json") if as_json and "--json" not in words else words
    result = submit(address, Path(working_dir), words, runtime_env=environment, show=_print_log)
    click.echo(result.output, nl=False)
    if result.error:
        click.echo(result.error, err=True)
    sys.exit(result.exit_code)


def _require_shared_locations(words: tuple[str, ...]) -> None:
    """Parse a command as the job will. Raise UsageError, or RequestInvalid if its result would be lost with the job."""
    from raymu.cli.group import cli  # which imports this module on use

    with click.Context(cli, info_name="raymu") as context:
        rest = click.Command.parse_args(cli, context, list(words))  # takes the options of the group
        if not rest:
            raise click.UsageError("Missing command.", ctx=context)
        name, inner, rest = cli.resolve_command(context, rest)
        assert name is not None
        assert inner is not None
        if name in _JOB_NAMES:
            raise RequestInvalid("a job cannot submit a job; name the command that it shall run")
        with inner.make_context(name, rest, parent=context) as parsed:
            parameters = dict(parsed.params)
    if name == "train":
        parameters["run_dir"], _ = split_words(parameters["words"], parameters["run_dir"])
    for parameter in sorted(_LOCATIONS & parameters.keys()):
        if _is_in_working_dir(name, parameter, parameters):
            raise RequestInvalid(
                f"{one_line(name)}: {parameters[parameter] or 'its output'} would be in the working directory of the job, "
                "which is deleted afterwards; give an absolute path on storage that all nodes share"
            )
    _require_private_ids(name, parameters)


def _require_private_ids(name: str, parameters: Mapping[str, Any]) -> None:
    """Raise RequestInvalid if a job would bring ids to Ray's dashboard or to the disks of its nodes."""
    for parameter, option in _IDENTITIES.items():
        if parameters.get(parameter):
            raise RequestInvalid(
                f"{one_line(name)}: the value of {option} would be shown on Ray's dashboard; put ids into a file on "
                "storage that all nodes share"
            )
    for parameter in sorted(_ID_FILES & parameters.keys()):
        location = parameters[parameter]
        if location == STANDARD_INPUT:
            raise RequestInvalid(
                f"{one_line(name)}: a job has no standard input; put ids into a file on storage that all nodes share"
            )
        if location and not (is_uri(location) or Path(location).is_absolute()):
            raise RequestInvalid(
                f"{one_line(name)}: {location} would be copied to the disks of Ray's nodes; give an absolute path on "
                "storage that all nodes share"
            )


def _is_in_working_dir(name: str, parameter: str, parameters: Mapping[str, Any]) -> bool:
    location = parameters[parameter]
    if location is not None:
        return not (is_uri(location) or Path(location).is_absolute())
    if (name, parameter) == ("tune", "out_dir"):  # beside the run, if that is a folder
        return is_uri(parameters["run_dir"])
    return (name, parameter) in _LOCAL_DEFAULTS


def _print_log(text: str) -> None:
    click.echo(text, err=True, nl=False)
