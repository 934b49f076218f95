"""Pages in the Chromium of this machine: what axe finds on them, how wide they are, and what the keyboard reaches."""

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

WIDTHS = (390, 768, 1400)
_TABBABLE = "a[href], summary, button, input:not([type=hidden]), select, textarea, [tabindex='0']"


@contextmanager
def chromium() -> Iterator[Any]:
    """Start the browser. Skip the test where there is none."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("Chromium is not installed")
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    pytest.importorskip("axe_playwright_python", reason="axe-playwright-python is not installed")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


def axe_findings(page: Any) -> list[str]:
    """Return what axe finds on a page, one line each. The whole audit is left out: its many cells are alike."""
    from axe_playwright_python.sync_playwright import Axe

    violations = Axe().run(page, context={"exclude": [[".audit"]]}).response["violations"]
    return [f"{each['id']}: {node['html'][:120]}" for each in violations for node in each["nodes"]]


def overflow(page: Any) -> int:
    """Return by how many pixels a page is wider than its window."""
    width: int = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
    return max(0, width)


def unreached(page: Any) -> list[str]:
    """Return the elements that one can act on and that the tab key does not reach, as their beginnings."""
    page.evaluate(
        f"""() => {{
            const closed = (each) => each.closest('details:not([open])')
                && !(each.tagName === 'SUMMARY' && each.parentElement.closest('details:not([open])') === each.parentElement
                     && !each.parentElement.parentElement.closest('details:not([open])'));
            window.waiting = new Set([...document.querySelectorAll("{_TABBABLE}")].filter((each) => !closed(each)));
            window.places = window.waiting.size;
            document.addEventListener('focusin', (event) => window.waiting.delete(event.target));
        }}"""
    )
    for _ in range(page.evaluate("window.places") + 20):
        page.keyboard.press("Tab")
    missing: list[str] = page.evaluate("[...window.waiting].map((each) => each.outerHTML.slice(0, 90))")
    return missing


def printed_pages(page: Any, out: Path) -> int:
    """Print a page on A4, and return the number of sheets."""
    page.pdf(path=str(out), format="A4", print_background=True)
    return len(re.findall(rb"/Type\s*/Page\b", out.read_bytes()))
