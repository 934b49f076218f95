"""The presence of a coordinator: a small file of the run that says where it is up or at work.

Messages and the check before a takeover read it. It proves nothing: terms and the journal decide who may write. A coordinator
that is killed leaves the file behind.
"""

import os
import socket
import threading
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from raymu.errors import FileCorrupt, FileMissing, FileUnreadable, RaymuError
from raymu.store.codec import seal, unseal
from raymu.store.files.run_files import RunFiles
from raymu.store.keys import RunKeys
from raymu.store.layout import PRESENCE
from raymu.text import duration, one_line

SIGN_EVERY = timedelta(minutes=1)
"""How often a coordinator that is up gives a sign of life."""
SILENT_AFTER = timedelta(minutes=10)
"""A coordinator without a sign of life for this long is taken for gone."""
_ANSWER_S = 2.0
"""How long a cluster on this machine may take to answer."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Presence:
    """A process that has the coordinator of a run, or works through one."""

    host: str
    """Name of its machine."""
    process: int
    """Its number there."""
    started: str | None
    """When the process started, as the system counts it; None where the system does not say."""
    is_detached: bool
    """Whether it stays up after the command that started it."""
    address: str | None = None
    """Address of the cluster that it is on; None without one that stays."""
    up_since: datetime
    seen_at: datetime
    """Its last sign of life."""

    @classmethod
    def of_this_process(cls, *, is_detached: bool = False, address: str | None = None) -> "Presence":
        """Describe this process, up from now on."""
        now = datetime.now(UTC)
        return cls(
            host=socket.gethostname(),
            process=os.getpid(),
            started=_started(os.getpid()),
            is_detached=is_detached,
            address=address,
            up_since=now,
            seen_at=now,
        )

    @property
    def is_on_this_machine(self) -> bool:
        return self.host == socket.gethostname()

    @property
    def is_ended(self) -> bool:
        """Whether the process has certainly ended. Another machine's is taken for gone after a long silence."""
        if self.is_on_this_machine:
            return not _is_running(self.process, self.started)
        return self._is_silent

    @property
    def is_cluster_gone(self) -> bool:
        """Whether its cluster has certainly ended: on this machine, nothing answers there. Elsewhere it is as `is_ended`."""
        if not self.is_on_this_machine or self.address is None:
            return self._is_silent
        host, _, port = self.address.rpartition(":")
        if not (_is_own_address(host) and port.isdigit()):  # the file is data: no other machine is asked
            return self._is_silent
        try:
            socket.create_connection((host, int(port)), timeout=_ANSWER_S).close()
        except (ConnectionRefusedError, OverflowError):
            return True
        except OSError:
            return self._is_silent
        return False

    def __str__(self) -> str:
        """Say who it is and since when."""
        silence = datetime.now(UTC) - self.seen_at
        seen = f", last seen {duration(silence.total_seconds())} ago" if silence > 2 * SIGN_EVERY else ""
        return f"process {self.process} on {one_line(self.host)}, since {self.up_since:%Y-%m-%d %H:%M:%S} UTC{seen}"

    @property
    def _is_silent(self) -> bool:
        return datetime.now(UTC) - self.seen_at > SILENT_AFTER


class PresenceFile:
    """The file of a run that says where its coordinator is."""

    def __init__(self, files: RunFiles, keys: RunKeys) -> None:
        self._files, self._keys = files, keys
        self._own: Presence | None = None
        self._guard, self._is_withdrawn = threading.Lock(), threading.Event()

    def read(self) -> Presence | None:
        """Return who has, or had, the coordinator; None if the last one left the run, or if the file is not raymu's."""
        with suppress(FileMissing, FileCorrupt, FileUnreadable, RecursionError):
            presence: Presence = unseal(
                Presence, self._files.read(PRESENCE), self._keys.hash_key, source=self._files.display_path(PRESENCE)
            )
            return presence
        return None

    def announce(self, presence: Presence) -> None:
        """Write that a coordinator is up, and a sign of life every minute, until `withdraw`.

        No work depends on it: what cannot be written is left out.
        """
        with self._guard:
            self._is_withdrawn.set()
            self._own, self._is_withdrawn = presence, threading.Event()
            self._write(presence)
        threading.Thread(target=self._give_signs, args=(self._is_withdrawn,), name="signs of life", daemon=True).start()

    def give_sign(self) -> None:
        """Write a sign of life, unless another coordinator has announced itself since."""
        with self._guard:
            if self._own is not None and self.read() == self._own:
                self._own = replace(self._own, seen_at=datetime.now(UTC))
                self._write(self._own)

    def withdraw(self) -> None:
        """Delete the file, unless another coordinator has announced itself since."""
        with self._guard:
            self._is_withdrawn.set()
            if self._own is not None and self.read() == self._own:
                with suppress(RaymuError):
                    self._files.delete(PRESENCE)
            self._own = None

    def _give_signs(self, is_withdrawn: threading.Event) -> None:
        while not is_withdrawn.wait(SIGN_EVERY.total_seconds()):
            self.give_sign()

    def _write(self, presence: Presence) -> None:
        with suppress(RaymuError):
            self._files.write(PRESENCE, seal(presence, self._keys.hash_key))


def _is_own_address(host: str) -> bool:
    """Whether an IP address is one of this machine's. A name is not, because to look it up asks other machines."""
    try:
        family = socket.AF_INET6 if ip_address(host.strip("[]")).version == 6 else socket.AF_INET
        with socket.socket(family) as own:
            own.bind((host.strip("[]"), 0))
    except (ValueError, OSError):
        return False
    return True


def _is_running(process: int, started: str | None) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return started is None or _started(process) in (started, None)


def _started(process: int) -> str | None:
    """Return when a process started, in ticks since the machine did; None if the system does not say."""
    try:
        stat = Path(f"/proc/{process}/stat").read_text(errors="replace")
    except OSError:
        return None
    return stat.rpartition(")")[2].split()[19]  # after the name, which may contain spaces: field 22 of proc(5)
