"""The help of all commands: it fits a terminal, and every example can be typed."""

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

import raymu
from raymu.cli.command import RaymuCommand
from raymu.cli.group import SECTIONS, cli

LISTED = [command for commands in SECTIONS.values() for command in commands]


def commands() -> Iterator[tuple[str, RaymuCommand]]:
    """Yield every command with the words that it is typed with."""
    for row in LISTED:
        group: click.Group = cli
        *groups, name = row.name.split()
        for word in groups:
            inner = group.get_command(click.Context(group), word)
            assert isinstance(inner, click.Group)
            group = inner
        command = group.get_command(click.Context(group), name)
        assert isinstance(command, RaymuCommand)
        yield row.name, command


COMMANDS = dict(commands())


def test_raymu_alone_prints_its_help() -> None:
    alone, with_option = CliRunner().invoke(cli, []), CliRunner().invoke(cli, ["--help"])
    assert (alone.exit_code, with_option.exit_code) == (0, 0)
    assert alone.output == with_option.output
    for row in LISTED:
        assert f"  {row.name}" in alone.output
        assert row.summary in alone.output


def test_the_help_of_all_commands_fits_eighty_columns() -> None:
    for name in ["", *COMMANDS]:
        shown = CliRunner().invoke(cli, [*name.split(), "--help"], terminal_width=80)
        assert shown.exit_code == 0, name
        assert max(len(line) for line in shown.output.splitlines()) <= 80, name
        repeated = ("]...", "COMMAND...", "A,B,...", "RUN...")
        assert "..." not in re.sub("|".join(map(re.escape, repeated)), "", shown.output), name


def test_every_command_on_a_run_that_exists_can_trust_it_after_its_own_options() -> None:
    shared = {"--trust", "--address", "--take-over", "--json"}
    for name, command in COMMANDS.items():
        if "run_dir" in [param.name for param in command.params] and name != "train":
            options = [param.opts[0] for param in command.params if isinstance(param, click.Option)]
            first = options.index("--trust")
            assert set(options[first:]) <= shared, name


def test_a_group_alone_prints_its_help() -> None:
    alone, with_option = CliRunner().invoke(cli, ["job"]), CliRunner().invoke(cli, ["job", "--help"])
    assert (alone.exit_code, alone.output) == (0, with_option.output)


@pytest.mark.parametrize("row", LISTED, ids=lambda row: row.name)
def test_a_summary_is_short_and_the_first_line_of_the_commands_help(row: object) -> None:
    summary, name = row.summary, row.name  # type: ignore[attr-defined]
    assert len(summary) <= 45
    assert summary == (COMMANDS[name].help or "").split("\n")[0]


@pytest.mark.parametrize("name", COMMANDS)
def test_an_example_can_be_typed_as_it_stands(name: str) -> None:
    command = COMMANDS[name]
    words = shlex.split(command.example)
    assert words[: 1 + len(name.split())] == ["raymu", *name.split()]
    command.make_context(name, words[1 + len(name.split()) :])


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_is_described_in_whole_sentences(name: str) -> None:
    for parameter in COMMANDS[name].params:
        if isinstance(parameter, click.Option):
            text = parameter.help or ""
            assert text[:1].isupper(), parameter.opts
            assert text.endswith("."), parameter.opts
            assert "TEXT" not in parameter.make_metavar(click.Context(COMMANDS[name])), parameter.opts


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["tran"], "raymu: No such command 'tran'; did you mean train? Try 'raymu --help'."),
        (
            ["revoke", "r", "--idd", "1"],
            "raymu: No such option '--idd'; did you mean --id? Try 'raymu revoke --help'.",
        ),
        (["revoke"], "raymu: Missing argument 'RUN'. Try 'raymu revoke --help'."),
        (["job", "submit", "--adress", "a"], "did you mean --address? Try 'raymu job submit --help'."),
        (["frobnicate"], "raymu: No such command 'frobnicate'. Try 'raymu --help'."),
    ],
)
def test_a_wrong_word_gets_a_suggestion_and_the_place_of_the_help(words: list[str], error: str) -> None:
    refused = subprocess.run(
        [sys.executable, "-m", "raymu.cli", *words], capture_output=True, text=True, check=False, timeout=60
    )
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr.endswith(f"{error}\n")
    assert refused.stderr.count("\n") == 1


def test_messages_name_options_that_exist() -> None:
    """Errors, tables and pages name commands to type."""
    known = {
        option
        for command in COMMANDS.values()
        for parameter in command.params
        for option in (*parameter.opts, *parameter.secondary_opts)
    }
    ray = {"--head"}  # of `ray start`
    package = Path(raymu.__file__).parent
    for path in [*package.rglob("*.py"), *package.rglob("*.html")]:
        if path.name in ("old_names.py", "model_signature.py"):  # they name other options on purpose
            continue
        named = set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*", path.read_text(encoding="utf-8")))
        assert named <= known | ray | {"--log", "--help", "--version"}, path


def test_shells_complete_the_names_of_commands() -> None:
    items = cli.shell_complete(click.Context(cli), "re")
    assert {item.value for item in items} == {"rebuild", "revoke", "receipts", "report", "restore"}
    assert all(item.help for item in items)


def test_paths_are_completed_by_shells() -> None:
    for name, command in COMMANDS.items():
        for parameter in command.params:
            if parameter.human_readable_name in ("RUN", "CONFIG", "FILE") or any(
                option.endswith(("-file", "-data", "--data", "--out")) for option in parameter.opts
            ):
                [item] = parameter.shell_complete(click.Context(command), "")
                assert item.type in ("file", "dir"), (name, parameter.opts)
