"""The group of all commands. It imports a command only when that command is used, so that help stays fast."""

import sys
from collections.abc import Mapping
from importlib import import_module
from typing import NamedTuple

import click
from click.shell_completion import CompletionItem

from raymu.cli.old_names import current_words
from raymu.imports import imports_uncollected
from raymu.text import did_you_mean


class LazyCommand(NamedTuple):
    """One row of the list of commands."""

    name: str
    """The name as it is typed. If it has two words, the first is a group."""
    module: str
    """The module in `raymu.cli.commands`, whose `command` is the click command."""
    summary: str
    """The first line of the command's help, at most 45 characters."""


SECTIONS: Mapping[str, tuple[LazyCommand, ...]] = {
    "Train": (
        LazyCommand("import", "import_table", "Convert IDX, NPZ or CSV data to Parquet."),
        LazyCommand("train", "train", "Train a run from a configuration file."),
        LazyCommand("extend", "extend", "Add samples to a run, as further slices."),
        LazyCommand("rebuild", "rebuild", "Restore missing or damaged files of a run."),
    ),
    "Forget": (
        LazyCommand("revoke", "revoke", "Revoke samples, or all samples of an owner."),
        LazyCommand("settle", "settle", "Retrain the shards that were only patched."),
        LazyCommand("plan", "plan", "Forecast what a request would cost."),
        LazyCommand("simulate", "simulate", "Forecast traffic before anything is trained."),
        LazyCommand("tune", "tune", "Search for the best hybrid boundary."),
    ),
    "Prove": (
        LazyCommand("status", "status", "Show shards, requests, debt and deadlines."),
        LazyCommand("receipts", "receipts", "Show what was done for each request."),
        LazyCommand("sign", "sign", "Sign the served generation for others."),
        LazyCommand("bom", "bom", "Write the bill of materials of the model."),
        LazyCommand("verify", "verify", "Check a run from its files alone."),
        LazyCommand("audit", "audit", "Attack a run to test what it has forgotten."),
        LazyCommand("report", "report", "Write an HTML page about a run."),
    ),
    "Predict": (
        LazyCommand("evaluate", "evaluate", "Measure the accuracy on labelled data."),
        LazyCommand("predict", "predict", "Predict the targets of a table."),
        LazyCommand("export", "export", "Write the model for programs without raymu."),
    ),
    "Keep": (
        LazyCommand("backup", "backup", "Back a run up, also while it is up."),
        LazyCommand("restore", "restore", "Restore a run from a backup."),
        LazyCommand("upgrade", "upgrade", "Write an earlier version's run as this one."),
    ),
    "Serve": (
        LazyCommand("serve", "serve", "Serve deletions and predictions over HTTP."),
        LazyCommand("token create", "token", "Make a token for a caller of `raymu serve`."),
        LazyCommand("token list", "token", "Show the tokens."),
        LazyCommand("token revoke", "token", "End a token."),
    ),
    "Cluster": (
        LazyCommand("start", "start", "Start a coordinator that stays up."),
        LazyCommand("stop", "stop", "Stop the coordinator that stays up."),
        LazyCommand("job submit", "job", "Run a command as a Ray job."),
    ),
    "Try it": (LazyCommand("demo", "demo", "Compare all strategies on bundled data."),),
}
_MODULES = {command.name.split()[0]: command.module for commands in SECTIONS.values() for command in commands}
_NAME_COLUMNS = max(len(command.name) for commands in SECTIONS.values() for command in commands)


class LazyGroup(click.Group):
    """The commands of `SECTIONS`, imported on use (click's "Lazily Loading Subcommands")."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Return the names of all commands, in the order of the help."""
        return list(_MODULES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import a command; None if its name is unknown."""
        module = _MODULES.get(cmd_name)
        if module is None:
            return None
        with imports_uncollected():
            command: click.Command = import_module(f"raymu.cli.commands.{module}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command of a command line, also by an old name. Suggest a similar one if it is unknown."""
        args = current_words(args)
        if args[0] not in _MODULES and not ctx.resilient_parsing:
            raise click.UsageError(f"No such command {args[0]!r}{did_you_mean(args[0], _MODULES)}", ctx=ctx)
        return super().resolve_command(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete the name of a command or an option of the group, without importing any command."""
        names = [
            CompletionItem(command.name.split()[0], help=command.summary)
            for commands in SECTIONS.values()
            for command in commands
            if command.name.startswith(incomplete)
        ]
        return [*names, *click.Command.shell_complete(self, ctx, incomplete)]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write the commands by section, without importing any."""
        for section, commands in SECTIONS.items():
            with formatter.section(section):
                formatter.write_dl([(command.name.ljust(_NAME_COLUMNS), command.summary) for command in commands])


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    invoke_without_command=True,
    epilog="Run 'raymu COMMAND --help' for the options of a command and an example.",
)
@click.version_option(package_name="raymu")
@click.option(
    "--log",
    "log_form",
    type=click.Choice(["text", "json"]),
    envvar="RAYMU_LOG",
    help="Log every event on standard error, one per line, instead of showing progress bars. "
    "The variable RAYMU_LOG sets it too.",
)
@click.pass_context
def cli(ctx: click.Context, log_form: str | None) -> None:
    """Train PyTorch models that can forget.

    Name any training sample, and raymu removes its influence from the model, on one machine or on a Ray cluster.
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())
    elif log_form is not None:
        from raymu.service.event_log import LogForm, configure_logging

        configure_logging(sys.stderr, LogForm(log_form))
