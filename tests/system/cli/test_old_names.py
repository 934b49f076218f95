"""Names of version 0.1 still work, and say which name to use now."""

from pathlib import Path

import click
import pytest

from raymu.cli.command import RaymuCommand
from raymu.cli.group import SECTIONS, cli
from raymu.cli.old_names import MOVED_COMMANDS, OLD_ARGUMENTS, OLD_COMMANDS, OLD_OPTIONS, current_words

NAMES = {command.name for commands in SECTIONS.values() for command in commands}
OPTIONS = [(name, old, current) for name, options in OLD_OPTIONS.items() for old, current in options.items()]


@pytest.mark.parametrize(("old", "current"), OLD_COMMANDS.items())
def test_an_old_command_is_the_current_one(old: str, current: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert old not in NAMES
    assert current in NAMES
    name, command, rest = cli.resolve_command(click.Context(cli), [old, "r", "--json"])
    assert [name, *rest] == [*current.split(), "r", "--json"]
    assert command is not None
    assert capsys.readouterr().err == (
        f"raymu: 'raymu {old}' is now 'raymu {current}'; the old name will be removed in version 0.3\n"
    )


@pytest.mark.parametrize(("old", "current"), MOVED_COMMANDS.items())
@pytest.mark.parametrize("value", [["uniform:5"], []])
def test_an_old_use_of_a_command_is_another_command(
    old: tuple[str, str], current: str, value: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    name, option = old
    words = ["run.yaml", option, *value] if value else ["run.yaml", f"{option}=uniform:5"]
    assert current_words([name, *words]) == [current, *words]
    assert capsys.readouterr().err.count("\n") == 1
    assert current_words([name, "run", "--id", "1"]) == [name, "run", "--id", "1"]
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(("name", "old", "current"), OPTIONS)
def test_an_old_option_is_the_current_one(
    name: str, old: str, current: str, capsys: pytest.CaptureFixture[str]
) -> None:
    command = cli.get_command(click.Context(cli), name)
    assert isinstance(command, RaymuCommand)
    assert old not in {option for parameter in command.params for option in parameter.opts}
    needed = ["--out", "o"] if name == "import" else ["--traffic", "uniform:5"] if name == "simulate" else []
    parsed = [
        command.make_context(name, ["place", *needed, *words]).params
        for words in ([current, "1"], [old, "1"], [f"{old}=1"])
    ]
    assert parsed[0] == parsed[1] == parsed[2]
    assert capsys.readouterr().err == 2 * (
        f"raymu: '{old}' is now '{current}'; the old name will be removed in version 0.3\n"
    )


def test_the_changelog_lists_all_old_names() -> None:
    text = (Path(__file__).parents[3] / "CHANGELOG.md").read_text(encoding="utf-8")
    names = [*OLD_COMMANDS.items(), *OLD_ARGUMENTS.values()]
    for old, current in names:
        assert f"`{old}`" in text
        assert f"`{current}`" in text
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    for name, old, current in OPTIONS:
        assert any(f"| `{name}` |" in row and f"`{old}`" in row and f"`{current}`" in row for row in rows), (name, old)


def test_an_old_name_as_a_value_is_a_value(capsys: pytest.CaptureFixture[str]) -> None:
    command = cli.get_command(click.Context(cli), "revoke")
    assert command is not None
    assert command.make_context("revoke", ["r", "--owner", "--key"]).params["owner"] == "--key"
    assert capsys.readouterr().err == ""
