"""A search's folder: what was asked for, and the branches that trials are at work on, which hold samples of people."""

import shutil
from pathlib import Path

from raymu.errors import RequestInvalid

_REQUEST = "request.json"


def branches_in(folder: Path) -> Path:
    """Where the branches of a search lie. folder: its own"""
    return folder / "branches"


def claim_folder(folder: Path, request: bytes) -> None:
    """Make a folder that of a search, and remove the branches that the same one left there when it was killed.

    request: everything that the search is told by. Raises RequestInvalid where something else is there.
    """
    kept, branches = folder / _REQUEST, branches_in(folder)
    if not kept.exists():
        if branches.exists():
            raise RequestInvalid(f"{branches} is there already, and no search's; name another --out")
        kept.write_bytes(request)
    if kept.read_bytes() != request:
        raise RequestInvalid(f"{folder} holds another search, or this one of other data; name another --out")
    if branches.exists():
        shutil.rmtree(branches)
