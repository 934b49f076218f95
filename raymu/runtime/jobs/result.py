"""The result of a job: one encrypted line of its log, which only the client that submitted the job can read.

The log is all that Ray returns of a job, and it stays on the disk of the cluster's head. A result may contain sample ids:
a refusal, for example, lists the unknown ones. So the client puts a public key into the job's command line, which anyone
may see, and keeps the private key in its memory.
"""

import base64
import json
from dataclasses import asdict, dataclass

from cryptography.fernet import Fernet
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

_PREFIX = "raymu-result:"


@dataclass(frozen=True, kw_only=True, slots=True)
class CommandResult:
    """What a command returned."""

    exit_code: int
    output: str
    """What it wrote on standard output."""
    error: str
    """The one line of its refusal, or an empty string."""


class ResultKey:
    """The key pair of one job."""

    def __init__(self) -> None:
        self._private = X25519PrivateKey.generate()

    @property
    def public(self) -> str:
        """The public key, as hexadecimal digits."""
        return self._private.public_key().public_bytes_raw().hex()

    def decrypt(self, line: str) -> CommandResult:
        """Read a line that `encrypt` wrote for this key. `line` begins after the prefix."""
        sender, token = line.split()
        return CommandResult(**json.loads(_cipher(self._private, sender).decrypt(token)))


def encrypt(result: CommandResult, public_key: str) -> str:
    """Return the line of a job's log that carries the result."""
    sender = ResultKey()
    token = _cipher(sender._private, public_key).encrypt(json.dumps(asdict(result)).encode())
    return f"{_PREFIX} {sender.public} {token.decode()}\n"


class JobLog:
    """Separates a job's log, as it arrives, into what a person reads and the result."""

    def __init__(self, key: ResultKey) -> None:
        self._key, self._rest = key, ""  # rest: a line that is not complete yet
        self.result: CommandResult | None = None
        """None until the log has it."""

    def feed(self, text: str) -> str:
        """Take the next part of the log, which may end anywhere, and return what a person reads."""
        *lines, self._rest = (self._rest + text).split("\n")
        return "".join(self._read(f"{line}\n") for line in lines)

    def end(self) -> str:
        """Return the rest of what a person reads, after the last part."""
        rest, self._rest = self._rest, ""
        return rest

    def _read(self, line: str) -> str:
        before, prefix, message = line.partition(_PREFIX)
        if not prefix:
            return line
        self.result = self._key.decrypt(message)
        return f"{before}\n" if before else ""


def _cipher(private: X25519PrivateKey, public: str) -> Fernet:
    shared = private.exchange(X25519PublicKey.from_public_bytes(bytes.fromhex(public)))
    key = HKDF(algorithm=SHA256(), length=32, salt=None, info=b"the result of a raymu job").derive(shared)
    return Fernet(base64.urlsafe_b64encode(key))
