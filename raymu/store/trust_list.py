"""The list of what a user trusts: a folder with one JSON file for each demand, in the user's configuration folder.

`train` writes it, so that a user's own runs keep working, wherever they are copied to. Files can be added and removed by
hand; their names do not matter.
"""

import hashlib
import json
import os
import stat
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from raymu.core.trust import EVERYTHING, Demand, Trust
from raymu.errors import ConfigInvalid, FileCorrupt
from raymu.input_file import read_input
from raymu.output_file import atomic_write
from raymu.store.codec import canonical_json, parse_json

VARIABLE = "RAYMU_TRUST"
"""`all`, where every run is the user's own, as in a container of theirs; or another folder for the list."""
ALL = "all"


def read_trust() -> Trust:
    """Return what the user trusts. Raises ConfigInvalid for a list that cannot be used."""
    if os.environ.get(VARIABLE) == ALL:
        return EVERYTHING
    folder = trust_folder()
    try:
        files = sorted(folder.glob("[!.]*.json")) if folder is not None else []
    except OSError:  # as good as an empty list
        files = []
    return Trust(demands=frozenset(map(_read, files)))


def remember(demands: Iterable[Demand]) -> bool:
    """Add demands to the list. Returns whether they are in it now: there may be no home, or no room."""
    folder = trust_folder()
    if folder is None:
        return False
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for demand in demands:
            tree = {"setting": demand.setting, "value": demand.value, "args": json.loads(demand.args)}
            payload = canonical_json(tree)
            file = folder / f"{hashlib.sha256(payload).hexdigest()[:32]}.json"
            if not file.exists():
                with atomic_write(file) as partial:
                    partial.write_bytes(payload)
    except OSError:
        return False
    return True


def trust_folder() -> Path | None:
    """Return the folder of the list; None if this user has no home."""
    if chosen := os.environ.get(VARIABLE):
        return None if chosen == ALL else Path(chosen)
    if configured := os.environ.get("XDG_CONFIG_HOME"):
        return Path(configured) / "raymu" / "trusted"
    with suppress(RuntimeError):
        return Path.home() / ".config" / "raymu" / "trusted"
    return None


def _read(file: Path) -> Demand:
    try:
        if file.stat().st_mode & stat.S_IWOTH:
            raise ConfigInvalid(f"{file}: anyone can write it, so it proves no trust; chmod o-w it, or delete it")
        tree = parse_json(read_input(file), source=str(file))
        args = canonical_json(dict(tree.get("args") or {})).decode()
        setting, value = tree["setting"], tree["value"]
    except (FileCorrupt, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigInvalid(f"{file}: is not a demand that was trusted; mend or delete it") from error
    return Demand(setting=str(setting), value=str(value), args=args)
