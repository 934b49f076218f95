"""Photographs the report of a small run as report.png: `python docs/images/photograph_report.py`. Needs Chromium."""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

ROOT = Path(__file__).resolve().parents[2]
LETTER = "raymu/datasets/letter-test.parquet"
COMMANDS = (
    f"train {ROOT}/examples/letter.yaml letter",
    "revoke letter --id 17 --id 4021",
    "settle letter",
    "revoke letter --id 5 --strategy dpus",
    f"report letter --test-data {ROOT / LETTER} --out letter.html",
)
WIDTH, HEIGHT = 1100, 690
"""Of the part that is shown, in pixels: the page's summary."""


def main() -> None:
    """Train and revoke, and write the picture."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        for command in COMMANDS:
            call = [sys.executable, "-m", "raymu.cli", *command.split()]
            subprocess.run(call, cwd=folder, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        chromium = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        page = chromium.new_page(viewport={"width": WIDTH, "height": HEIGHT})
        page.goto(f"file://{folder}/letter.html")
        page.screenshot(path=Path(__file__).with_name("report.png"))
        chromium.close()


if __name__ == "__main__":
    main()
