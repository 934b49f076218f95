"""The folder of a search: what lies there that is not the search's own stays."""

from pathlib import Path

import pytest

from raymu.errors import RequestInvalid
from raymu.service.tuning.search_folder import branches_in, claim_folder


def fill(folder: Path, *paths: str) -> None:
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(path)


def files_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_a_search_begins_beside_a_user_s_own_files(tmp_path: Path) -> None:
    own = ["branch-old/notes.txt", "branch-plan", "run.yaml"]
    fill(tmp_path, *own)
    for _ in range(2):
        claim_folder(tmp_path, b"asked")
    assert files_in(tmp_path) == [*own[:2], "request.json", own[2]]


def test_one_that_goes_on_removes_the_branches_that_it_left(tmp_path: Path) -> None:
    claim_folder(tmp_path, b"asked")
    fill(branches_in(tmp_path), "one/samples/0", "two/hash.key")
    claim_folder(tmp_path, b"asked")
    assert files_in(tmp_path) == ["request.json"]


def test_another_search_is_refused_and_leaves_the_branches_of_the_one_at_work(tmp_path: Path) -> None:
    claim_folder(tmp_path, b"asked")
    fill(branches_in(tmp_path), "one/samples/0")
    with pytest.raises(RequestInvalid, match=r"belongs to another search, .*; name another --out"):
        claim_folder(tmp_path, b"asked otherwise")
    assert files_in(tmp_path) == ["branches/one/samples/0", "request.json"]


def test_branches_of_somebody_else_are_not_taken_for_a_search_s(tmp_path: Path) -> None:
    fill(tmp_path, "branches/mine.txt")
    with pytest.raises(RequestInvalid, match="branches exists already and belongs to no search; name another --out"):
        claim_folder(tmp_path, b"asked")
    assert files_in(tmp_path) == ["branches/mine.txt"]
