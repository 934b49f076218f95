"""The code blocks of every page run as they are printed, unless a comment before a block says why not."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from raymu.cli.group import cli
from tests.support.documents import blocks_of, pages
from tests.support.page_runs import prepare, run_page, trains_letter

LONG = ("docs/guides/boundary.md", "docs/guides/export.md")
"""Pages that take more than five seconds: a search, and three formats of an export."""
RUN = [page for page in pages() if any(block.reason is None for block in blocks_of(page))]


@pytest.mark.parametrize(
    "page", [pytest.param(page, marks=pytest.mark.nightly) if page in LONG else page for page in RUN]
)
def test_the_code_blocks_of_a_page_run(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    prepare(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "configuration"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    if not trains_letter(page):
        trained = CliRunner().invoke(cli, ["train", "examples/letter.yaml", "runs/letter", "training.epochs=5"])
        assert trained.exit_code == 0, trained.output
    if page == "README.md":  # its Python, which a test of the cluster runs, revokes them
        revoked = CliRunner().invoke(cli, ["revoke", "runs/letter", "--id", "17", "--id", "4021", "--strategy", "sisa"])
        assert revoked.exit_code == 0, revoked.output
    run_page(page, tmp_path, is_nightly=request.config.getoption("--nightly"))


def test_the_first_pages_are_run() -> None:
    assert {"README.md", "docs/quickstart.md", "docs/guides/own-data.md"} <= set(RUN)


def test_a_block_that_is_not_run_says_why() -> None:
    reasons = [block.reason for page in pages() for block in blocks_of(page) if block.reason is not None]
    assert reasons
    assert all(len(reason.split()) > 1 for reason in reasons)
