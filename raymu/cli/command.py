"""The base class of all commands: it accepts old option names, suggests options, and shows an example."""

from collections.abc import Iterator
from copy import copy
from typing import Any

import click

from raymu.cli.old_names import OLD_OPTIONS, warn_of_old_name
from raymu.text import did_you_mean


class RaymuCommand(click.Command):
    """A command with an example in its help, which also takes the old names of its options."""

    def __init__(self, name: str, *, example: str, **settings: Any) -> None:
        """Make the command.

        Args:
            name: The name that is typed after `raymu`; of a command in a group, the last word.
            example: A valid command line.
            settings: Those of `click.Command`.
        """
        super().__init__(name, **settings)
        self.example = example
        self._old_options = dict(self._make_old_options())

    def make_parser(self, ctx: click.Context) -> Any:
        """Make a parser that takes the old options too."""
        parser = super().make_parser(ctx)
        for option in self._old_options:
            option.add_to_parser(parser, ctx)
        return parser

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse a command line. Raise UsageError with a suggestion if it has an unknown option."""
        try:
            _, _, used = self.make_parser(ctx).parse_args(list(args))
            for option in dict.fromkeys(used):
                if current := self._old_options.get(option):
                    warn_of_old_name(option.opts[0], current)
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            options = [name for param in self.get_params(ctx) for name in (*param.opts, *param.secondary_opts)]
            hint = did_you_mean(error.option_name, options)
            raise click.UsageError(f"No such option {error.option_name!r}{hint}", ctx=ctx) from error

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write the example at the end of the help."""
        with formatter.section("Example"):
            formatter.write_text(self.example)

    def _make_old_options(self) -> Iterator[tuple[click.Parameter, str]]:
        """Yield a copy of an option with an old name, and the current name, for each old name."""
        for old, current in OLD_OPTIONS.get(self.name or "", {}).items():
            for param in self.params:
                if current in param.opts:  # in none of a command of a group that has the same name
                    option = copy(param)
                    option.opts, option.secondary_opts = [old], []
                    yield option, current
