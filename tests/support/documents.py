"""Code blocks of the project's pages, and whether they run."""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
_BLOCK = re.compile(
    r"(?:<!-- not run: (?P<reason>[^\n]+?) -->\n\s*)?^[ ]*```(?P<language>\w+)\n(?P<code>.*?)^[ ]*```$",
    re.DOTALL | re.MULTILINE,
)
_RUN = ("bash", "python")


@dataclass(frozen=True, kw_only=True, slots=True)
class CodeBlock:
    """A code block of a page."""

    language: str
    """What stands behind its opening backticks."""
    code: str
    reason: str | None
    """Why it is not run, as the comment before it says: `<!-- not run: needs a GPU -->`. None if it is run."""


def blocks_of(page: str) -> list[CodeBlock]:
    """Return the blocks of a page that are commands or Python. page: path below the root of the repository."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return [
        CodeBlock(language=match["language"], code=match["code"], reason=match["reason"])
        for match in _BLOCK.finditer(text)
        if match["language"] in _RUN
    ]


def pages() -> list[str]:
    """Return the pages of the project, as paths below the root of the repository."""
    return ["README.md", *sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md"))]


def code_blocks(page: str, language: str) -> list[str]:
    """Return the code blocks in a language.

    Args:
        page: Path below the root of the repository, such as `docs/settings.md`.
        language: What stands behind the block's opening backticks, such as `bash`.
    """
    text = (ROOT / page).read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)
