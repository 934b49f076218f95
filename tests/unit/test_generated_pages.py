"""The pages of settings and of commands are those that docs/generate.py writes."""

import dataclasses
import importlib.util
import sys
from types import ModuleType

import pytest

import raymu.config
from raymu.config import Config
from tests.support.documents import ROOT


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["settings.md", "commands.md"])
def test_the_generated_part_of_a_page_is_up_to_date(generate: ModuleType, name: str) -> None:
    page = (ROOT / "docs" / name).read_text(encoding="utf-8")
    assert generate.with_generated(page, generate.PAGES[name]()) == page, "run docs/generate.py"


def test_each_branch_has_a_table_and_each_setting_a_meaning(generate: ModuleType) -> None:
    kinds = {
        kind
        for name, module in sys.modules.items()
        if name.startswith(f"{raymu.config.__name__}.")
        for kind in vars(module).values()
        if isinstance(kind, type) and dataclasses.is_dataclass(kind) and kind.__name__.endswith(("Config", "Settings"))
    }
    assert kinds - {Config} == set(generate.BRANCHES.values()) - {generate.Normalization}
    assert "|  |\n" not in generate.tables_of_settings()
