"""Write the table of files in architecture.md from the docstrings of the modules: `python docs/file_table.py`."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "architecture.md"
BEGIN, END = "<!-- files: written by docs/file_table.py -->", "<!-- end -->"


def summary(path: Path) -> str:
    """Return the first sentence of a module's docstring."""
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    paragraph = " ".join(docstring.split("\n\n")[0].split())
    return re.split(r"(?<=[.?!]) ", paragraph)[0]


def tables() -> Iterator[str]:
    """Yield one table for each folder below raymu/, with a row for each of its modules."""
    for folder in sorted(path.parent for path in (ROOT / "raymu").rglob("__init__.py")):
        yield f"### {folder.relative_to(ROOT)}/\n"
        yield f"{summary(folder / '__init__.py')}\n"
        modules = sorted(path for path in folder.glob("*.py") if path.name != "__init__.py")
        if modules:
            yield "| file | what it is |\n|---|---|"
            yield "\n".join(f"| `{path.relative_to(ROOT)}` | {summary(path)} |" for path in modules) + "\n"


def with_tables(page: str) -> str:
    """Return the page with its tables as the modules have them now."""
    before, rest = page.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n\n" + "\n".join(tables()) + f"\n{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(with_tables(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
