"""`raymu export`."""

import sys

import click

from raymu.cli.command import RaymuCommand
from raymu.cli.options import json_option, open_run, run_argument, show, trust_option, warn_of_waiting
from raymu.cli.parameter_types import DIRECTORY
from raymu.errors import RequestInvalid

_FORMATS = ("pt2", "onnx", "safetensors")  # as in raymu/training/export_formats.py, which needs PyTorch


@click.command("export", cls=RaymuCommand, example="raymu export runs/letter letter-model --format pt2 --format onnx")
@run_argument
@click.argument("out", metavar="[OUT]", required=False, type=DIRECTORY)
@click.option(
    "--format",
    "formats",
    type=click.Choice(_FORMATS),
    multiple=True,
    help="What to write. The default is pt2, a program of torch.export. Repeat it for more.",
)
@click.option(
    "--check",
    "checked_folder",
    type=DIRECTORY,
    help="Write nothing: say whether this folder is an export of the current generation.",
)
@trust_option
@json_option
def command(run_dir: str, out: str | None, formats: tuple[str, ...], checked_folder: str | None, as_json: bool) -> None:
    """Write the model for programs without raymu.

    OUT is a new folder, or one with an earlier export of the run, which is replaced. It gets one file or two for each
    format, and export.json, which says which generation of which run it is. The purge of a run does not reach exports:
    when a later revocation supersedes the generation, replace them.

    With --check, exit code 0: the export is current; 1: it is superseded.
    """
    if (out is None) == (checked_folder is None):
        raise RequestInvalid("give OUT, the folder to write, or --check with a folder that was written before")
    run = open_run(run_dir)
    if checked_folder is not None:
        if formats:
            raise RequestInvalid("--check writes nothing; leave --format out")
        check = run.check_export(checked_folder)
        facts = {
            "schema": "raymu.export_check",
            "generation": check.generation,
            "served": check.served,
            "is_current": check.is_current,
            "is_signed": check.is_signed,
        }
        show(as_json, facts, lambda screen: screen.print(str(check)))
        sys.exit(0 if check.is_current else 1)
    export = run.export(out or "", formats=formats or ("pt2",))
    warn_of_waiting(run)
    text = f"exported generation {export.generation} into {export.out}: {', '.join(export.files)}"
    show(as_json, export, lambda screen: screen.print(text))
