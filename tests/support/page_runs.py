"""Runs the commands and the Python of a page in a folder as a clone of the repository has it, in their order."""

import os
import shlex
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from raymu.cli.group import cli
from tests.support.documents import ROOT, CodeBlock, blocks_of

STAY_UP = ("raymu serve",)
"""Commands that end only when they are stopped. tests/system/web starts them."""
SLOW = ("raymu audit", "raymu tune")
"""Commands of minutes, which run nightly."""
BACKUPS = "/mnt/backups"
"""The place of backups on the pages, which is in the folder here."""


def prepare(folder: Path) -> None:
    """Fill a folder with what the pages take for granted: the examples, the bundled tables, and a file of one's own."""
    shutil.copytree(ROOT / "examples", folder / "examples")
    (folder / "raymu").mkdir()
    (folder / "raymu/datasets").symlink_to(ROOT / "raymu/datasets")
    rows = [f"p{number},{number % 7},{number % 5},{'ab'[number % 7 > 3]}" for number in range(200)]
    (folder / "people.csv").write_text("\n".join(["person,height,weight,group", *rows, ""]), encoding="utf-8")
    programs = folder / "bin"
    programs.mkdir()
    for name, words in (("raymu", "-m raymu.cli"), ("python", "")):
        (programs / name).write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {words} "$@"\n', encoding="utf-8")
        (programs / name).chmod(stat.S_IRWXU)


def trains_letter(page: str) -> bool:
    """Return whether a page trains `runs/letter` itself; other pages begin with it."""
    return any("raymu train examples/letter.yaml runs/letter" in block.code for block in _run_blocks(page))


def run_page(page: str, folder: Path, *, is_nightly: bool) -> None:
    """Run all blocks of a page, in the folder that is the present one. Each must succeed.

    Commands of raymu run in this process, one line after another; other lines in a shell.
    """
    names: dict[str, Any] = {"__name__": "page"}
    left_out = STAY_UP if is_nightly else STAY_UP + SLOW
    for block in _run_blocks(page):
        if block.language == "python":
            exec(compile(block.code, page, "exec"), names)
            continue
        for line in block.code.splitlines():
            if not line.startswith(left_out):
                _run_line(line.replace(BACKUPS, str(folder / "backups")), folder)


def _run_blocks(page: str) -> list[CodeBlock]:
    return [block for block in blocks_of(page) if block.reason is None]


def _run_line(line: str, folder: Path) -> None:
    words = shlex.split(line, comments=True) if line.startswith("raymu ") else []
    if words:
        result = CliRunner().invoke(cli, words[1:])
        assert result.exit_code == 0, f"{line}\n{result.output}{result.stderr}"
        return
    environment = {
        **os.environ,
        "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
    }
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", line],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
