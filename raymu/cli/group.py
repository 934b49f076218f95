"""The group that all commands belong to."""

import click


@click.group(context_settings={"help_option_names": ["-h", "--help"]}, no_args_is_help=False)
@click.version_option(package_name="raymu")
def cli() -> None:
    """Train PyTorch classifiers so that any training sample can be taken out again, and take it out."""
