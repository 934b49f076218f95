"""The pages of the service in a browser: a deletion without script, nothing for axe to find, a keyboard that reaches all."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from raymu.api import Run
from raymu.web.access_log import AccessLog
from raymu.web.app import build_app
from raymu.web.guards import Limits
from raymu.web.metrics import ServiceMetrics
from raymu.web.served_run import open_runs
from raymu.web.tokens import Role, Tokens
from tests.support.browser import WIDTHS, axe_findings, chromium, overflow, unreached
from tests.support.examples import create_run, make_config, write_samples


@contextmanager
def serving(location: Path, tokens: Tokens) -> Iterator[str]:
    """Serve a run in a thread, to whoever has a token, and yield the address."""
    metrics = ServiceMetrics()
    app = build_app(
        open_runs([Run(location, trust=True)], metrics.of_run),
        tokens=tokens,
        log=AccessLog(None),
        limits=Limits(),
        metrics=metrics,
        is_open=False,
    )
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", access_log=False))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        until = time.monotonic() + 60
        while not server.started and time.monotonic() < until:
            time.sleep(0.02)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


def test_a_person_signs_in_and_deletes_without_script(tmp_path: Path, pytestconfig: pytest.Config) -> None:
    write_samples(tmp_path / "all.parquet", samples=120)
    config = make_config(tmp_path / "all.parquet", training={"epochs": 2}, partition={"shards": 2, "slices": 2})
    create_run(config, tmp_path / "run")
    tokens = Tokens(tmp_path / "tokens.json")
    with chromium() as browser, serving(tmp_path / "run", tokens) as address:
        person: Any = browser.new_context(java_script_enabled=False)
        page = person.new_page()
        page.goto(address)
        page.get_by_label("Token").fill(tokens.create("office", Role.OPERATOR))
        page.get_by_role("button", name="Sign in").click()
        page.get_by_label("Ids of the samples").fill("1007")
        page.get_by_label("Strategy").select_option("sisa")
        page.get_by_role("button", name="Delete").click()
        until = time.monotonic() + 60
        while not page.get_by_role("link", name="Download the signed receipt").count() and time.monotonic() < until:
            time.sleep(0.2)
            page.reload()
        with page.expect_download() as download:
            page.get_by_role("link", name="Download the signed receipt").click()
        assert download.value.suggested_filename.startswith("receipt-")
        request = page.url
        checker = browser.new_context(color_scheme="dark", storage_state=person.storage_state())
        others = ("/requests", "/sign-in") if pytestconfig.getoption("--nightly") else ()
        for path in ("/", request.removeprefix(address), *others):
            sheet = checker.new_page()
            problems: list[str] = []
            sheet.on("console", lambda message, into=problems: into.append(message.text))
            sheet.goto(address + path)
            for width in WIDTHS:
                sheet.set_viewport_size({"width": width, "height": 900})
                assert overflow(sheet) == 0, (path, width)
            assert axe_findings(sheet) == [], path
            if path != "/requests":  # whose form is that of the overview
                assert unreached(sheet) == [], path
            assert [each for each in problems if "Password forms" not in each] == [], path
            sheet.close()
        page.get_by_role("button", name="Sign out").click()
        assert page.url == f"{address}/sign-in"
        page.goto(address)
        assert page.url == f"{address}/sign-in"
