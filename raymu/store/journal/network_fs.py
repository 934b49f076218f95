"""Which file systems are shared by several machines."""

import re
from collections.abc import Iterator
from pathlib import Path

MOUNTS = Path("/proc/self/mounts")
"""Of Linux; other systems have no such file, and nothing can be told there."""
# Not 9p and virtiofs: they mostly hand a host's disk to one guest, and it may have no other (WSL, Kata containers).
_SHARED = re.compile(
    r"nfs\d?|cifs|smb3?|smbfs|ceph|lustre|gpfs|beegfs|glusterfs|ocfs2|gfs2|afs|orangefs|pvfs2|panfs|wekafs|"
    r"fuse\.(ceph|glusterfs|sshfs|s3fs|goofys|mount-s3|gcsfuse|blobfuse2?|juicefs|rclone)"
)
_OCTAL = re.compile(r"\\(\d{3})")


def network_file_system(path: Path) -> str | None:
    """The kind of file system that a path lies on, or would, such as nfs4; None where it is this machine's alone."""
    place = path.absolute().resolve()
    kinds = [(len(mount.parts), kind) for mount, kind in _mounts() if place.is_relative_to(mount)]
    _, kind = max(kinds, key=lambda one: one[0], default=(0, ""))
    return kind if _SHARED.fullmatch(kind) else None


def _mounts() -> Iterator[tuple[Path, str]]:
    """Latest first, since a later one hides an earlier one at the same place."""
    lines = MOUNTS.read_text(errors="replace").splitlines() if MOUNTS.exists() else []
    for line in reversed(lines):
        _, mount, kind, *_ = line.split(" ")
        yield Path(_OCTAL.sub(lambda code: chr(int(code[1], 8)), mount)), kind
