"""Messages between processes on a cluster, encrypted: they name samples, owners and keys.

Ray keeps arguments and results in its object store and in the memory of its own processes, and overwrites them when it
likes. Nothing that a request names is there in clear. The key is derived from the run's, which every process that works on
the run reads from the run itself.
"""

import pickle
from dataclasses import dataclass
from typing import Any

from raymu.errors import CoordinatorLost, FileCorrupt
from raymu.store.cipher import RunCipher
from raymu.store.run import RunStore


@dataclass(frozen=True, slots=True)
class Failure:
    """The error that a call ended with, as a message. Ray would keep the text of an error that is raised."""

    error: BaseException


class MessageCipher:
    """Encryption of pickled messages, bound to the run. Only holders of the run's key can make one."""

    def __init__(self, store: RunStore) -> None:
        """Derive the key of a run's messages. Raises FileMissing, FileCorrupt."""
        self._cipher = RunCipher(store.keys.hash_key, purpose="messages")
        self._run = store.manifest.run_id.encode()
        self._source = store.files.display_path("a message of its coordinator")

    def encrypt(self, message: object) -> bytes:
        """Return a message encrypted."""
        return self._cipher.encrypt(pickled(message), bound_to=self._run)

    def decrypt(self, payload: bytes) -> Any:
        """Return a message that was encrypted with the key of this run. Raise the error of a `Failure`.

        Raises FileCorrupt if it was encrypted with another key, or changed.
        """
        try:
            plain = self._cipher.decrypt(payload, bound_to=self._run)
        except ValueError as error:
            raise FileCorrupt(self._source, "it is of another run, or was changed on its way") from error
        message = pickle.loads(plain)
        if isinstance(message, Failure):
            raise message.error
        return message


def pickled(message: object) -> bytes:
    """Pickle a message. An error of a foreign class that pickle cannot make again is replaced by its name."""
    if not isinstance(message, Failure):
        return pickle.dumps(message)
    try:
        payload = pickle.dumps(message)
        pickle.loads(payload)
    except Exception:  # whatever foreign code raises
        name = type(message.error).__name__
        return pickle.dumps(Failure(CoordinatorLost(f"its error cannot be passed on: {name}")))
    return payload
