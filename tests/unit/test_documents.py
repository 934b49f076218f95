"""README, settings and commands show what there is: all settings with their defaults, all commands, and existing options."""

import re
import tomllib
from pathlib import Path

import click
import pytest
import yaml

from raymu.cli.group import SECTIONS, cli
from raymu.config import Config
from raymu.web.protocol_settings import read_protocol_settings
from tests.support.documents import ROOT, code_blocks, pages

PAGES = pages()
MANIFESTS = "apiVersion"


def settings_of(page: str) -> list[str]:
    """Return the settings that a page shows. Where a section occurs more than once in a block, each line is an example."""
    shown: list[str] = []
    for block in code_blocks(page, "yaml"):
        sections = re.findall(r"^(\w+):", block, flags=re.MULTILINE)
        is_one = len(sections) == len(set(sections))
        shown += [block] if is_one else block.splitlines()
    return [text for text in shown if not text.startswith(MANIFESTS)]


SETTINGS = [(page, text) for page in (*PAGES, "cluster/README.md") for text in settings_of(page)]


def test_the_page_of_settings_shows_all_with_their_defaults() -> None:
    [example] = code_blocks("docs/settings.md", "yaml")
    shown = Config.parse(yaml.safe_load(example))
    least = Config.parse({"data": {"train": "train.parquet"}, "model": {"name": "mlp", "hidden": [256]}})
    assert shown == least
    tree = yaml.safe_load(example)
    for branch, settings in least.tree().items():
        assert branch in tree
        if branch != "model" and isinstance(settings, dict):
            assert set(tree[branch]) == set(settings), branch


def test_the_page_of_commands_shows_all() -> None:
    text = "\n".join(code_blocks("docs/commands.md", "text"))
    shown = re.findall(r"^raymu ((?:job|token) \w+|\w+)", text, flags=re.MULTILINE)
    assert set(shown) == {command.name for commands in SECTIONS.values() for command in commands}


@pytest.mark.parametrize(("page", "text"), SETTINGS)
def test_shown_settings_are_settings(page: str, text: str, tmp_path: Path) -> None:
    tree = yaml.safe_load(text)
    if set(tree) <= {"webhooks", "opendsr", "state"}:
        file = tmp_path / "protocols.yaml"
        file.write_text(text, encoding="utf-8")
        protocols, _ = read_protocol_settings(file)
        assert len(protocols.webhooks) == len(tree.get("webhooks", ()))
        return
    config = Config.parse({"data": {"train": "train.parquet"}, "model": "mlp"} | tree)
    assert set(tree) <= set(config.tree()), page


@pytest.mark.parametrize("page", PAGES)
def test_shown_commands_have_the_options_that_are_shown(page: str) -> None:
    shown_lines = "\n".join([*code_blocks(page, "text"), *code_blocks(page, "bash")])
    for group_name, name, usage in re.findall(r"^raymu (job |token )?(\w+)(.*)", shown_lines, flags=re.MULTILINE):
        group: click.Group = cli
        if group_name:
            group = cli.get_command(click.Context(cli), group_name.strip())  # type: ignore[assignment]
        command = group.get_command(click.Context(group), name)
        assert command is not None, name
        options = {option for parameter in command.params for option in parameter.opts}
        shown = set(re.findall(r"--[a-z][\w-]*", usage.partition(" -- ")[0].partition("  #")[0]))
        assert shown <= options | {"--json", "--help"}, name


def test_the_readme_names_the_set_up_commands() -> None:
    commands = re.findall(r"^(\.ci/\w+)", "\n".join(code_blocks("README.md", "bash")), flags=re.MULTILINE)
    assert commands == [".ci/demo", ".ci/test"]
    assert all((ROOT / command).stat().st_mode & 0o111 for command in commands)


def test_the_readme_stays_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 140


def test_each_extra_is_described() -> None:
    extras = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]) - {"dev"}
    table = (ROOT / "docs/settings.md").read_text(encoding="utf-8").partition("## Extras")[2]
    described = re.findall(r"^\| `([\w-]+)` \|", table, flags=re.MULTILINE)
    assert set(described) == extras


def test_each_picture_of_the_readme_exists_and_has_words() -> None:
    pictures = re.findall(r"!\[(.*?)\]\((.*?)\)", (ROOT / "README.md").read_text())
    assert len(pictures) == 4
    assert all(words and (ROOT / path).is_file() for words, path in pictures)
