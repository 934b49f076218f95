"""Code blocks of the project's pages."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def code_blocks(page: str, language: str) -> list[str]:
    """Return the code blocks in a language.

    Args:
        page: Path below the root of the repository, such as `docs/settings.md`.
        language: What stands behind the block's opening backticks, such as `bash`.
    """
    text = (ROOT / page).read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)
