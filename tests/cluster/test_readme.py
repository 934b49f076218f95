"""The README's examples run unchanged."""

import re
from pathlib import Path

import click
import pytest
import yaml

from raymu.config import Config

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


@pytest.mark.usefixtures("ray_cluster", "room_for_one")  # eight actors would take long to start
def test_the_python_example_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    [example] = blocks("python")
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    exec(compile(example, "README.md", "exec"), {})
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("approximate 0.9")
    assert second == "exact"


def test_the_readme_shows_all_settings_with_their_defaults() -> None:
    [example] = blocks("yaml")
    shown = Config.parse(yaml.safe_load(example))
    least = Config.parse({"data": {"train": "train.parquet"}, "model": {"name": "mlp", "hidden": [256]}})
    assert shown == least
    tree = yaml.safe_load(example)
    for branch, settings in least.tree().items():
        assert branch in tree
        if branch != "model" and isinstance(settings, dict):
            assert set(tree[branch]) == set(settings), branch


def test_the_readme_shows_all_commands() -> None:
    from raymu.cli.group import SECTIONS

    shown = re.findall(r"^raymu ((?:job|token) \w+|\w+)", "\n".join(blocks("text")), flags=re.MULTILINE)
    assert set(shown) == {command.name for commands in SECTIONS.values() for command in commands}


def test_the_readme_shows_existing_options() -> None:
    from raymu.cli.group import cli

    shown_lines = "\n".join([*blocks("text"), *blocks("bash")])
    for group_name, name, usage in re.findall(r"raymu (job |token )?(\w+)(.*)", shown_lines):
        group: click.Group = cli
        if group_name:
            group = cli.get_command(click.Context(cli), group_name.strip())  # type: ignore[assignment]
        command = group.get_command(click.Context(group), name)
        if command is None:
            continue  # a line about the project itself, such as `cd raymu`
        options = {option for parameter in command.params for option in parameter.opts}
        shown = set(re.findall(r"--[a-z][\w-]*", usage.partition(" -- ")[0]))
        assert shown <= options | {"--json", "--help"}, name


def test_the_readme_names_the_set_up_commands() -> None:
    commands = re.findall(r"^(\.ci/\w+)", "\n".join(blocks("bash")), flags=re.MULTILINE)
    assert commands == [".ci/demo", ".ci/test"]
    assert all((ROOT / command).stat().st_mode & 0o111 for command in commands)
