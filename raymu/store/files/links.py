"""Lists folders of a local disk without following a link: what a link leads to is not the run's."""

import os
from collections.abc import Iterator
from contextlib import suppress


def entries_below(folder: str) -> Iterator[os.DirEntry[str]]:
    """Yield everything below a folder except folders."""
    folders = [folder]
    while folders:
        with suppress(FileNotFoundError, NotADirectoryError), os.scandir(folders.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
                else:
                    yield entry


def is_file(entry: os.DirEntry[str]) -> bool:
    """Return whether an entry of a folder is a file, and not a link to one."""
    return entry.is_file(follow_symlinks=False)


def has_linked_folder(root: str, path: str) -> bool:
    """Return whether a folder on the way from a root to a path below it is a link."""
    ends = (position for position, letter in enumerate(path) if letter == "/" and position > len(root))
    return any(os.path.islink(path[:end]) for end in ends)
