"""The group that all commands belong to."""

import sys

import click

from raymu.service.event_log import LogForm, configure_logging


@click.group(context_settings={"help_option_names": ["-h", "--help"]}, no_args_is_help=False)
@click.version_option(package_name="raymu")
@click.option(
    "--log",
    "log_form",
    type=click.Choice([form.value for form in LogForm]),
    envvar="RAYMU_LOG",
    help="Say what happens on standard error, a line each, in place of bars; also as RAYMU_LOG.",
)
def cli(log_form: str | None) -> None:
    """Train PyTorch classifiers so that any training sample can be taken out again, and take it out."""
    if log_form is not None:
        configure_logging(sys.stderr, LogForm(log_form))
