"""The roles of columns of ids and of requests, found by their names in any case and by common names of the same thing."""

import re
from collections.abc import Mapping, Sequence
from difflib import SequenceMatcher
from enum import StrEnum

from raymu.config import DataConfig
from raymu.errors import RequestInvalid
from raymu.text import one_line


class Role(StrEnum):
    """The purpose of a column. The value is its name in the documentation."""

    ID = "id"
    OWNER = "owner"
    KEY = "key"
    DUE = "due"
    STRATEGY = "strategy"
    BOUNDARY = "boundary"


_NAMES: Mapping[Role, frozenset[str]] = {
    Role.ID: frozenset({"id", "sampleid"}),
    Role.OWNER: frozenset({"owner", "ownerid"}),
    Role.KEY: frozenset({"key", "idempotencykey"}),
    Role.DUE: frozenset({"due", "duedate", "dueat", "dueby", "dueon", "deadline"}),
    Role.STRATEGY: frozenset({"strategy"}),
    Role.BOUNDARY: frozenset({"boundary", "hybridboundary"}),
}
_SUBJECTS = frozenset({"subject", "subjectid", "datasubject", "datasubjectid"})
"""Names by which privacy tools call an owner. Beside such a column, `ID` is usually the number of a ticket."""
_PERSONS = frozenset({"user", "userid", "customer", "customerid"})
"""Owners too, in a table that names nothing else."""
_LEAST_LIKENESS = 0.8


def plain_name(name: str) -> str:
    """Return the name of a column without case, spaces, dots, hyphens and underscores: `Due Date` is `duedate`."""
    return re.sub(r"[\s._-]+", "", name.casefold())


def is_known_name(name: str, data: DataConfig | None) -> bool:
    """Return whether a column of this name has a role."""
    known = frozenset().union(*_NAMES.values(), _SUBJECTS, _PERSONS)
    own = {plain_name(own) for own in (data.id, data.owner) if own} if data else set()
    return plain_name(name) in known | own


def find_roles(source: str, names: Sequence[str], data: DataConfig | None = None) -> dict[Role, int]:
    """Return the index of the column for each role that a table has.

    Args:
        source: The table, for messages.
        names: The names of its columns.
        data: The names of the run's columns, if there is a run. A column with the run's own name of ids or owners comes
            first.

    Raises:
        RequestInvalid: Several columns may be meant, or one is nearly called as it should.
    """
    roles = {}
    for role, known in _NAMES.items():
        own = _own_name(role, data)
        candidates: list[int] = []
        if own is not None:
            candidates = [index for index, name in enumerate(names) if name == own]
            candidates = candidates or [
                index for index, name in enumerate(names) if plain_name(name) == plain_name(own)
            ]
        if not candidates:
            candidates = [index for index, name in enumerate(names) if plain_name(name) in known]
        if candidates:
            roles[role] = _only(source, role.value, names, candidates)
    return _with_subjects(source, names, roles)


def require_no_misspelling(source: str, names: Sequence[str], used: Mapping[Role, int]) -> None:
    """Raise RequestInvalid if a column without a role is nearly called as a role that the table lacks."""
    for index, name in enumerate(names):
        for role in (role for role in Role if role not in used and index not in used.values()):
            if _is_nearly(plain_name(name), role.value):
                raise RequestInvalid(
                    f"{source}: has a column {one_line(repr(name))}; did you mean {role.value}? A table of requests has id "
                    "or owner, and may have key, due, strategy and boundary"
                )


def _own_name(role: Role, data: DataConfig | None) -> str | None:
    """Return what the run calls its ids or owners, if it is not the common name."""
    own = {Role.ID: data.id, Role.OWNER: data.owner}.get(role) if data else None
    return None if own == role.value else own


def _with_subjects(source: str, names: Sequence[str], roles: dict[Role, int]) -> dict[Role, int]:
    """Add a column of data subjects as the owners, if there is no column of owners."""
    if Role.OWNER in roles:
        return roles
    taken = set(roles.values())
    others = [(index, plain_name(name)) for index, name in enumerate(names) if index not in taken]
    subjects = [index for index, name in others if name in _SUBJECTS]
    if subjects and Role.ID in roles:
        shown = f"{one_line(names[roles[Role.ID]])} and {one_line(names[subjects[0]])}"
        raise RequestInvalid(
            f"{source}: has columns {shown}, and either may name what to revoke; call the owners owner, or drop that column, "
            "and call only the ids of samples id"
        )
    if not subjects and Role.ID not in roles:
        subjects = [index for index, name in others if name in _PERSONS]
    return roles | {Role.OWNER: _only(source, "owner", names, subjects)} if subjects else roles


def _only(source: str, role: str, names: Sequence[str], candidates: Sequence[int]) -> int:
    if len(candidates) == 1:
        return candidates[0]
    called = list(dict.fromkeys(names[index] for index in candidates))
    if len(called) == 1:
        raise RequestInvalid(f"{source}: has several columns called {one_line(called[0])}; rename or drop the others")
    shown = one_line(" and ".join(called))
    raise RequestInvalid(f"{source}: has columns {shown}, and either may be its {role}; rename or drop the other")


def _is_nearly(name: str, role: str) -> bool:
    if abs(len(name) - len(role)) > 1 or name[:1] != role[:1]:
        return False
    return sorted(name) == sorted(role) or SequenceMatcher(None, name, role).ratio() >= _LEAST_LIKENESS
