"""Print how each page reads: its words, its sentences of more than 30 words, and its semicolons.

`--long` prints the long sentences instead. Code blocks, tables, headings and comments are left out. A line of a list counts
as a sentence of its own.
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
LONG = 30
"""Words of a sentence beyond which it is called long."""
_LEFT_OUT_LINES = re.compile(r"^(?:\s*\|.*|#.*|:::.*)$", re.MULTILINE)
_BLOCKS = re.compile(r"```.*?```|<!--.*?-->", re.DOTALL)


def prose(text: str) -> list[str]:
    """Return the paragraphs and list items of a page, each as one line, with the text of links alone."""
    text = _LEFT_OUT_LINES.sub("", _BLOCKS.sub("\n\n", text))
    text = re.sub(r"!\[[^\]]*\]\([^)]*\)", "", text)
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text)
    parts = re.split(r"\n\s*\n|\n(?=\s*(?:[-*]|\d+\.) )", text)
    return [" ".join(part.split()) for part in parts if part.split()]


def sentences(paragraph: str) -> Iterator[str]:
    """Yield the sentences of a paragraph. A full stop inside code, or before a small letter, ends none."""
    hidden = re.sub(r"`[^`]*`", lambda code: re.sub(r"[.!?;\s]", "_", code[0]), paragraph)
    yield from filter(None, re.split(r"(?<=[.!?:])\**\s+(?=[A-Z`*\"(])", hidden))


def main() -> None:
    """Print the table, or with `--long` the long sentences."""
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    total = [0, 0, 0]
    for page in pages:
        name = page.relative_to(ROOT)
        paragraphs = prose(page.read_text(encoding="utf-8").partition("<!-- written by")[0])
        spoken = [sentence for paragraph in paragraphs for sentence in sentences(paragraph)]
        long = [sentence for sentence in spoken if len(sentence.split()) > LONG]
        counts = [
            sum(len(sentence.split()) for sentence in spoken),
            len(long),
            sum(sentence.count(";") for sentence in spoken),
        ]
        total = [before + count for before, count in zip(total, counts, strict=True)]
        if "--long" in sys.argv:
            print(
                *(f"{name}: {len(sentence.split())} words: {sentence}" for sentence in long),
                sep="\n",
                end="\n" * bool(long),
            )
        else:
            print(f"{name!s:36} {counts[0]:7,} words {counts[1]:4} long {counts[2]:4} semicolons")
    print(f"{'all':36} {total[0]:7,} words {total[1]:4} long {total[2]:4} semicolons")


if __name__ == "__main__":
    main()
