"""`raymu train`."""

import re
from collections.abc import Sequence
from pathlib import Path

import click

from raymu.cli.command import RaymuCommand
from raymu.cli.options import address_option, json_option, printing_after_commit, show
from raymu.cli.parameter_types import DIRECTORY, FILE
from raymu.cli.request_options import require_one_reader, say_notes
from raymu.cli.work_progress import work_progress
from raymu.config import Config
from raymu.console.run_tables import show_training
from raymu.core.records import SampleId
from raymu.core.uri import redacted
from raymu.data.ids import read_ids, read_owners
from raymu.errors import RequestInvalid
from raymu.new_run import train
from raymu.text import one_line

_SETTING = re.compile(r"[\w.]+=")
"""The beginning of KEY=VALUE. A path or a URI has a slash or a colon before its first equals sign."""


@click.command("train", cls=RaymuCommand, example="raymu train letter.yaml runs/letter training.epochs=3")
@click.argument("config_file", metavar="CONFIG", type=FILE)
@click.argument("words", nargs=-1, metavar="[RUN] [KEY=VALUE]...", type=DIRECTORY)
@click.option("--run", "run_dir", type=DIRECTORY, help="The new run, instead of the argument RUN.")
@click.option(
    "--exclude-file", type=FILE, help="A file with the ids of samples that the run never gets; - is standard input."
)
@click.option(
    "--exclude-owner",
    "exclude_owners",
    metavar="OWNER",
    multiple=True,
    help="An owner of whom the run never gets a sample. Repeat it for more.",
)
@click.option("--exclude-owner-file", type=FILE, help="A file with such owners; - is standard input.")
@click.option(
    "--revocations-of",
    metavar="RUN",
    multiple=True,
    type=DIRECTORY,
    help="Another run: what it revoked, by id or by owner, is left out. Repeat it for more.",
)
@click.option(
    "--inexact",
    is_flag=True,
    help="Train also if the training cannot be repeated bit for bit. Every receipt says inconclusive then.",
)
@address_option
@json_option
def command(
    config_file: str,
    words: tuple[str, ...],
    run_dir: str | None,
    exclude_file: str | None,
    exclude_owners: tuple[str, ...],
    revocations_of: tuple[str, ...],
    inexact: bool,
    exclude_owner_file: str | None,
    address: str | None,
    as_json: bool,
) -> None:
    """Train a run from a configuration file.

    RUN is a new directory or a URI such as s3://bucket/run; by default it is runs/NAME for NAME.yaml. Settings such as
    training.epochs=3 override the configuration.
    """
    new_run, settings = split_words(words, run_dir)
    config = Config.load(config_file, settings)
    location = f"runs/{Path(config_file).stem}" if new_run is None else new_run
    require_one_reader(exclude_file, exclude_owner_file)
    exclude: Sequence[SampleId] = ()
    owners: Sequence[SampleId] = exclude_owners
    if exclude_file is not None:
        named = read_ids(exclude_file, config.data)
        say_notes(named.notes)
        exclude = named.values
    if exclude_owner_file is not None:
        named = read_owners(exclude_owner_file, config.data)
        say_notes(named.notes)
        owners = (*owners, *named.values)
    with (
        work_progress(is_shown=not as_json) as progress,
        train(
            config,
            location,
            exclude=exclude,
            exclude_owners=owners,
            revocations_of=revocations_of,
            inexact=inexact,
            address=address,
            progress=progress,
        ) as run,
    ):
        report, conversions = run.training, run.manifest.conversions
    with printing_after_commit("`raymu status`"):
        for line in conversions:
            click.echo(f"raymu: {one_line(line)}", err=True)
        show(as_json, report, lambda screen: show_training(screen, report, redacted(location)))


def split_words(words: Sequence[str], run_dir: str | None) -> tuple[str | None, tuple[str, ...]]:
    """Return the new run, None if it is not named, and the settings. Raise RequestInvalid if two runs are named.

    Args:
        words: The arguments after the configuration: RUN, if it is named, and settings.
        run_dir: The value of --run.
    """
    if not words or _SETTING.match(words[0]):
        return run_dir, tuple(words)
    if run_dir is not None:
        raise RequestInvalid(f"two runs are named, {words[0]} and {run_dir}; give RUN or --run, not both")
    return words[0], tuple(words[1:])
