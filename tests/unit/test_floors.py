"""The floors of the tests: what a test module may import. tests/README.md describes them."""

import ast
from pathlib import Path

TESTS = Path(__file__).parents[1]
WHOLE_RUNS = {"train_run", "TrainedRun", "TrainedRunFactory", "RunTemplates", "weights_without"}


def imports(path: Path) -> set[tuple[str, str]]:
    """Return (module, name) of each name that a file imports from tests."""
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    return {
        (node.module, alias.name)
        for node in nodes
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("tests.")
        for alias in node.names
        if node.module
    }


def test_no_module_imports_from_a_test_module() -> None:
    assert not {
        (str(path.relative_to(TESTS)), module)
        for path in TESTS.rglob("*.py")
        for module, _ in imports(path)
        if module.split(".")[-1].startswith("test_")
    }


def test_unit_tests_import_nothing_that_trains_a_run() -> None:
    assert not {
        (str(path.relative_to(TESTS)), name)
        for path in (TESTS / "unit").rglob("*.py")
        for _, name in imports(path)
        if name in WHOLE_RUNS
    }
