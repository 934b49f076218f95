"""The folder of a search: its request, and branches of the run, which hold training samples."""

import json
import shutil
from pathlib import Path

from raymu.errors import RequestInvalid

_REQUEST = "request.json"


def branches_in(folder: Path) -> Path:
    """Return the directory for branches in a search's folder."""
    return folder / "branches"


def claim_folder(folder: Path, request: bytes) -> None:
    """Make a folder that of a search, and delete branches that an interrupted attempt of the same search left there.

    Args:
        folder: An existing directory. Files of the user beside the search's own stay.
        request: Everything that defines the search. The same request resumes a search, another one is refused.

    Raises:
        RequestInvalid: The folder belongs to another search, or to one of version 0.1.
    """
    request_file, branches = folder / _REQUEST, branches_in(folder)
    if branches.is_symlink() or request_file.is_symlink():
        raise RequestInvalid(f"{folder} has links in the place of a search's own files; name another --out")
    if not request_file.exists():
        if branches.exists():
            raise RequestInvalid(f"{branches} exists already and belongs to no search; name another --out")
        request_file.write_bytes(request)
    earlier = request_file.read_bytes()
    if _measures_in_nats(earlier):
        raise RequestInvalid(
            f"{folder} has a search of version 0.1, whose forgetting errors are in nats and not multiples of the floor; "
            "search again with another --out, and read the old one's tuning.json and trials.parquet"
        )
    if earlier != request:
        raise RequestInvalid(f"{folder} belongs to another search, or to this one on other data; name another --out")
    if branches.exists():
        shutil.rmtree(branches)


def _measures_in_nats(request: bytes) -> bool:
    """Whether a search is one of version 0.1, which trained no oracles with other seeds."""
    try:
        return "oracles" not in json.loads(request)["plan"]
    except (ValueError, KeyError, TypeError):
        return False  # not what a search wrote
