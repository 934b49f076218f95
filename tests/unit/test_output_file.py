"""Where a user's file may be written. It is written completely or not at all."""

from pathlib import Path

import pytest

from raymu.errors import RequestInvalid
from raymu.output_file import atomic_write, check_output_path, require_ending
from tests.support.examples import file_size_limit


def write(path: Path, text: str) -> None:
    """Write half of a long text, and then the rest."""
    with atomic_write(path) as partial, partial.open("w") as file:
        file.write(text[:5000])
        file.flush()
        if "\0" in text:
            raise ValueError("no text")
        file.write(text[5000:])


def there(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir()}


def test_a_file_appears_whole_at_the_end(tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    out.write_text("old")
    with atomic_write(out) as partial:
        partial.write_text("new")
        assert out.read_text() == "old"
        assert partial.suffix == ".html"
    assert there(tmp_path) == {"page.html": "new"}


@pytest.mark.parametrize("before", [{}, {"page.html": "old"}])
def test_what_breaks_off_leaves_what_was_there(tmp_path: Path, before: dict[str, str]) -> None:
    for name, text in before.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match="no text"):
        write(tmp_path / "page.html", "new \0")
    with file_size_limit(100), pytest.raises(OSError, match="too large"):
        write(tmp_path / "page.html", "new" * 1000)
    assert there(tmp_path) == before


def test_a_file_stays_as_private_as_it_was_and_a_link_stays_a_link(tmp_path: Path) -> None:
    private, link = tmp_path / "private.html", tmp_path / "link.html"
    private.touch(mode=0o600)
    link.symlink_to("private.html")
    with atomic_write(link) as partial:
        partial.write_text("new")
    assert link.is_symlink()
    assert private.read_text() == "new"
    assert private.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("", "is not a file"),
        ("none/out.csv", "none is not a directory; make it, or name another"),
        ("data.parquet/out.csv", "data.parquet is not a directory"),
        ("folder.csv", "exists and is not a file"),
        ("device.csv", "exists and is not a file"),
        ("data.parquet", "is the table to predict, and would be overwritten"),
        ("link.parquet", "is the table to predict, and would be overwritten"),
        ("run/run.json", "is in the run's directory"),
        ("run/samples/new.csv", "is in the run's directory"),
        ("run/../run/new.csv", "is in the run's directory"),
    ],
)
def test_a_place_that_a_file_must_not_take_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, problem: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("data.parquet").touch()
    Path("folder.csv").mkdir()
    Path("device.csv").symlink_to("/dev/full")
    Path("link.parquet").symlink_to("data.parquet")
    Path("run/samples").mkdir(parents=True)
    Path("run/run.json").touch()
    with pytest.raises(RequestInvalid, match=problem):
        check_output_path(name, reads={"the table to predict": "data.parquet", "an audit": None}, run="run")


def test_a_new_file_and_an_old_one_may_be_written(tmp_path: Path) -> None:
    (tmp_path / "old.csv").touch()
    for name in ("old.csv", "new.parquet"):
        check_output_path(
            tmp_path / name, reads={"the table to predict": "s3://bucket/data.parquet"}, run="s3://bucket/run"
        )


@pytest.mark.parametrize("out", ["a.png", "a.PNG", "folder.x/a.svg"])
def test_an_ending_says_the_format(out: str) -> None:
    require_ending(out, (".png", ".svg"))


@pytest.mark.parametrize("out", ["a", "a.json", ".png", "", "a.png.gz"])
def test_another_ending_is_refused(out: str) -> None:
    with pytest.raises(RequestInvalid, match=r"no known format; name a file that ends in \.png or \.svg"):
        require_ending(out, (".png", ".svg"))
