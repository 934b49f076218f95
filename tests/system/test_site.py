"""The site of the documentation is built without a warning: each page is in it, each link and anchor leads somewhere."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import raymu
from tests.support.documents import ROOT

MKDOCS = ROOT / "docs" / "site" / "mkdocs.yml"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--config-file", str(MKDOCS)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    built = subprocess.run(
        [*command, "--site-dir", str(folder)], env=environment, capture_output=True, text=True, check=False
    )
    assert built.returncode == 0, built.stderr
    return folder


def test_every_page_is_in_the_navigation(site: Path) -> None:
    pages = {str(path.relative_to(ROOT).with_suffix(".html")) for path in (ROOT / "docs").rglob("*.md")}
    assert pages - {str(path.relative_to(site)) for path in site.rglob("*.html")} == set()
    assert (site / "index.html").read_text(encoding="utf-8").count("PyTorch models that can forget")


def test_no_page_loads_anything_from_elsewhere(site: Path) -> None:
    for path in site.rglob("*.html"):
        text = path.read_text(encoding="utf-8")
        loaded = re.findall(r"<(?:script|img|iframe|source)[^>]* src=\"?([^\" >]+)", text)
        loaded += re.findall(r"<link[^>]* rel=\"?stylesheet\"?[^>]* href=\"?([^\" >]+)", text)
        assert [address for address in loaded if address.startswith(("http:", "https:", "//"))] == [], path.name


def test_every_public_name_is_documented(site: Path) -> None:
    page = (ROOT / "docs" / "python-api.md").read_text(encoding="utf-8")
    names = re.findall(r"^### (raymu\.\S+)\n\n::: (raymu\.\S+)$", page, flags=re.MULTILINE)
    assert {name for name, _ in names if not name.startswith("raymu.plots.")} == {
        f"raymu.{name}" for name in raymu.__all__
    }
    built = (site / "docs" / "python-api.html").read_text(encoding="utf-8")
    assert [name for name, path in names if f'id="{path}"' not in built] == []


def test_the_configuration_of_the_site_names_existing_files() -> None:
    navigation = yaml.load(MKDOCS.read_text(encoding="utf-8"), Loader=_Loader)["nav"]
    text = yaml.safe_dump(navigation)
    assert [page for page in re.findall(r"[\w/.-]+\.md", text) if not (ROOT / page).is_file()] == []


class _Loader(yaml.SafeLoader):
    """Reads the file without the functions that it names."""


_Loader.add_multi_constructor("tag:yaml.org,2002:python/", lambda _loader, _suffix, _node: None)
