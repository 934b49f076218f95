"""The folder of a search: other files in it stay."""

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


def test_a_search_starts_beside_files_of_the_user(tmp_path: Path) -> None:
    own = ["branch-old/notes.txt", "branch-plan", "run.yaml"]
    fill(tmp_path, *own)
    for _ in range(2):
        claim_folder(tmp_path, b"request")
    assert files_in(tmp_path) == [*own[:2], "request.json", own[2]]


def test_a_resumed_search_removes_the_branches_that_it_left(tmp_path: Path) -> None:
    claim_folder(tmp_path, b"request")
    fill(branches_in(tmp_path), "one/samples/0", "two/hash.key")
    claim_folder(tmp_path, b"request")
    assert files_in(tmp_path) == ["request.json"]


def test_another_search_is_refused_and_leaves_the_branches_of_the_running_one(tmp_path: Path) -> None:
    claim_folder(tmp_path, b"request")
    fill(branches_in(tmp_path), "one/samples/0")
    with pytest.raises(RequestInvalid, match=r"belongs to another search, .*; name another --out"):
        claim_folder(tmp_path, b"other request")
    assert files_in(tmp_path) == ["branches/one/samples/0", "request.json"]


def test_a_folder_named_branches_without_a_search_is_refused(tmp_path: Path) -> None:
    fill(tmp_path, "branches/mine.txt")
    with pytest.raises(RequestInvalid, match="branches exists already and belongs to no search; name another --out"):
        claim_folder(tmp_path, b"request")
    assert files_in(tmp_path) == ["branches/mine.txt"]


def test_a_search_of_version_0_1_is_refused_with_the_reason(tmp_path: Path) -> None:
    old = b'{"constraints":{},"digest":"","plan":{"location":"runs/letter","workers":2},"search":{}}'
    (tmp_path / "request.json").write_bytes(old)
    with pytest.raises(RequestInvalid, match=r"forgetting errors are in nats .* another --out"):
        claim_folder(tmp_path, b"request")
    assert (tmp_path / "request.json").read_bytes() == old
