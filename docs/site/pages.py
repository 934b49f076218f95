"""Give the site the files of the repository at their own paths, so that relative links lead to the same file in both."""

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[2]
_LINK = re.compile(r"\]\(([^)#:\s]+)(?:#[\w-]+)?\)")


def pages_of(nav: object) -> list[str]:
    """Return the paths of all pages of a navigation, in its order."""
    match nav:
        case str():
            return [nav]
        case list():
            return [page for part in nav for page in pages_of(part)]
        case dict():
            return [page for part in nav.values() for page in pages_of(part)]
        case _:
            return []


def linked_files(page: str) -> set[str]:
    """Return the paths of the files of the repository that a page links to, if they are no pages."""
    text = (ROOT / page).read_text(encoding="utf-8")
    paths = {((ROOT / page).parent / link).resolve() for link in _LINK.findall(text)}
    return {
        str(path.relative_to(ROOT))
        for path in paths
        if path.is_file() and path.is_relative_to(ROOT) and path.suffix != ".md"
    }


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages of the navigation, and the figures and files that they link to."""
    pages = pages_of(config.nav)
    linked = set().union(*map(linked_files, pages))
    for path in [*pages, *sorted(linked)]:
        files.append(File.generated(config, path, abs_src_path=str(ROOT / path)))
    return files
