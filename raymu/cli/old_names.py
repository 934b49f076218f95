"""Names that commands and options had in version 0.1. They work for one more version, with a line on standard error."""

from collections.abc import Mapping, Sequence

import click

OLD_COMMANDS: Mapping[str, str] = {
    "up": "start",
    "down": "stop",
    "submit": "job submit",
}
"""Old name -> the words that replace it."""

MOVED_COMMANDS: Mapping[tuple[str, str], str] = {("plan", "--traffic"): "simulate"}
"""A command and one of its old options -> the command that does this now."""

OLD_OPTIONS: Mapping[str, Mapping[str, str]] = {
    "import": {"--labels": "--labels-file"},
    "train": {"--exclude": "--exclude-file"},
    "rebuild": {"--data": "--training-data"},
    "revoke": {"--requests": "--requests-file", "--key": "--idempotency-key"},
    "simulate": {"--window": "--batch-window"},
    "tune": {
        "--data": "--test-data",
        "--trace": "--trace-file",
        "--window": "--batch-window",
        "--most-lost": "--max-accuracy-loss",
        "--most-debt": "--max-debt",
        "--most-error": "--max-forgetting-error",
        "--most-p95": "--max-p95",
    },
    "audit": {"--data": "--training-data", "--test": "--test-data", "--models": "--shadow-models"},
    "report": {"--data": "--test-data", "--audit": "--audit-file"},
    "evaluate": {"--data": "--test-data"},
}
"""Command -> old option -> the option that replaces it."""

OLD_ARGUMENTS: Mapping[str, tuple[str, str]] = {"receipts": ("receipts RUN ID", "receipts RUN --request ID")}
"""Command -> how it was typed -> how it is typed now."""


def current_words(words: Sequence[str]) -> list[str]:
    """Replace the old name of a command, and say so.

    Args:
        words: A command and its arguments.
    """
    name, *arguments = words
    if name in OLD_COMMANDS:
        warn_of_old_name(f"raymu {name}", f"raymu {OLD_COMMANDS[name]}")
        return [*OLD_COMMANDS[name].split(), *arguments]
    for (command, option), current in MOVED_COMMANDS.items():
        if name == command and any(word.partition("=")[0] == option for word in arguments):
            warn_of_old_name(f"raymu {command} {option}", f"raymu {current}")
            return [current, *arguments]
    return [name, *arguments]


def warn_of_old_name(old: str, current: str) -> None:
    """Print one line on standard error: an old name is in use, and will be removed."""
    click.echo(f"raymu: '{old}' is now '{current}'; the old name will be removed in version 0.3", err=True)
