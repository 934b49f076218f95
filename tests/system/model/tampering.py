"""Changes that an attacker without the keys can make to the files of a run."""

from collections.abc import Callable, Mapping

from raymu.store.journal.file_seal import JOURNAL
from raymu.store.layout import KINDS, kind_of

Files = dict[str, bytes]
Past = list[Files]
"""All files as they were at some time, the latest last."""


def _flip(files: Files, past: Past, path: str, chance: int) -> None:  # noqa: ARG001 - one signature
    payload = bytearray(files[path])
    if payload:
        payload[chance % len(payload)] ^= 1 << chance % 8
    files[path] = bytes(payload)


def _cut(files: Files, past: Past, path: str, chance: int) -> None:  # noqa: ARG001
    files[path] = files[path][: chance % (len(files[path]) or 1)]


def _delete(files: Files, past: Past, path: str, chance: int) -> None:  # noqa: ARG001
    del files[path]


def _swap(files: Files, past: Past, path: str, chance: int) -> None:  # noqa: ARG001
    other = in_order(files)[chance % len(files)]
    files[path], files[other] = files[other], files[path]


def _roll_back(files: Files, past: Past, path: str, chance: int) -> None:
    versions = list(dict.fromkeys(then[path] for then in past if path in then))
    back = versions[chance % len(versions)]
    if path != JOURNAL or _steady(back) != _steady(files[path]):
        files[path] = back


def _steady(journal: bytes) -> bytes:
    """Return a journal without the bytes of its header that opening and closing it changes, and that no seal covers."""
    return journal[:18] + journal[20:24] + journal[28:92] + journal[100:]


def _bring_back(files: Files, past: Past, path: str, chance: int) -> None:
    """Restore a deleted file, under its own name or under a name that no file of a run has."""
    gone = {name: payload for then in past for name, payload in then.items() if name not in files}
    if gone:
        back = in_order(gone)[chance % len(gone)]
        files[back if chance % 2 else f"{path}.old"] = gone[back]


def _restore_old_copy(files: Files, past: Past, path: str, chance: int) -> None:  # noqa: ARG001
    """Restore all files of an old generation."""
    folders = ("samples/", "shards/", "generations/")
    then = past[chance % len(past)]
    for name in [name for name in files if name.startswith(folders)]:
        del files[name]
    files.update({name: payload for name, payload in then.items() if name.startswith(folders)})


TAMPERINGS: Mapping[str, Callable[[Files, Past, str, int], None]] = {
    "flip": _flip,
    "cut": _cut,
    "delete": _delete,
    "swap": _swap,
    "roll back": _roll_back,
    "bring back": _bring_back,
    "restore an old copy": _restore_old_copy,
}


def tamper(files: Files, past: Past, *, how: str, which: int, chance: int) -> Files:
    """Return the files after tampering. They are unchanged if this kind of tampering has no target."""
    kinds = sorted({kind for path in files if (kind := kind_of(path))})
    kind = kinds[which % len(kinds)]
    of_kind = in_order({path: b"" for path in files if kind_of(path) == kind})
    changed = dict(files)
    TAMPERINGS[how](changed, past, of_kind[which // len(kinds) % len(of_kind)], chance)
    return changed


def in_order(files: Mapping[str, object]) -> list[str]:
    """Sort by kind, so that random names and names with random keys have the same order in every example."""
    rank = {kind: number for number, kind in enumerate(KINDS)}
    return sorted(files, key=lambda path: (rank.get(str(kind_of(path)), len(rank)), path))
