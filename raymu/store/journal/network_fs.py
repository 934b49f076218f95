"""Detection of network file systems, on which SQLite's write-ahead log is not safe."""

import re
from collections.abc import Iterator
from pathlib import Path

MOUNTS = Path("/proc/self/mounts")
"""Linux only; on other systems the kind of a file system is unknown."""
# Not 9p and virtiofs: they mostly pass a host's disk to one guest, which may have no other (WSL, Kata containers).
_SHARED = re.compile(
    r"nfs\d?|cifs|smb3?|smbfs|ceph|lustre|gpfs|beegfs|glusterfs|ocfs2|gfs2|afs|orangefs|pvfs2|panfs|wekafs|"
    r"fuse\.(ceph|glusterfs|sshfs|s3fs|goofys|mount-s3|gcsfuse|blobfuse2?|juicefs|rclone)"
)
_OCTAL = re.compile(r"\\(\d{3})")


def network_file_system(path: Path) -> str | None:
    """Return the kind of shared file system at a path, such as nfs4; None if only this machine has it.

    The path need not exist.
    """
    path = path.absolute().resolve()
    kinds = [(len(mount.parts), kind) for mount, kind in _mounts() if path.is_relative_to(mount)]
    _, kind = max(kinds, key=lambda mount: mount[0], default=(0, ""))
    return kind if _SHARED.fullmatch(kind) else None


def _mounts() -> Iterator[tuple[Path, str]]:
    """Yield mount points and kinds, latest first: a later mount hides an earlier one at the same path."""
    lines = MOUNTS.read_text(errors="replace").splitlines() if MOUNTS.exists() else []
    for line in reversed(lines):
        _, mount, kind, *_ = line.split(" ")
        yield Path(_OCTAL.sub(lambda code: chr(int(code[1], 8)), mount)), kind
