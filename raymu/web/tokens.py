"""Bearer tokens of the service's callers, in a file that keeps only their hashes."""

import fcntl
import hashlib
import os
import re
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

from raymu.errors import ConfigInvalid, FileCorrupt, RequestInvalid, StorageFailed
from raymu.output_file import atomic_write
from raymu.store.codec import canonical_json, from_json, to_tree
from raymu.text import one_line

VARIABLE = "RAYMU_TOKENS"
"""The environment variable that names another file."""
_PREFIX = "raymu_"
"""Beginning of every token, so that programs that look for leaked secrets find one."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class Right(StrEnum):
    """What a caller may do."""

    REVOKE = "revoke"
    READ = "read"
    """Read requests and receipts."""
    PREDICT = "predict"
    OBSERVE = "observe"
    """Read the status and the metrics."""


class Role(StrEnum):
    """The role of a caller."""

    REQUESTER = "requester"
    """Whoever makes requests, such as a privacy office, and reads what was done for them."""
    PREDICTOR = "predictor"
    AUDITOR = "auditor"
    OPERATOR = "operator"


RIGHTS: Mapping[Role, frozenset[Right]] = {
    Role.REQUESTER: frozenset({Right.REVOKE, Right.READ}),
    Role.PREDICTOR: frozenset({Right.PREDICT}),
    Role.AUDITOR: frozenset({Right.READ, Right.OBSERVE}),
    Role.OPERATOR: frozenset(Right),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Token:
    """A token as its file has it."""

    name: str
    """Who has it. The name is in the access log."""
    role: Role
    sha256: str
    """Hash of the token, in hex. A token has 256 random bits, so that nobody finds one by its hash."""
    created_at: datetime
    revoked_at: datetime | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class _TokenFile:
    tokens: tuple[Token, ...] = ()
    version: int = 1


class Tokens:
    """The tokens of a file. Changes of the file, by whichever process, hold for the next call."""

    def __init__(self, path: Path) -> None:
        """Name the file, which need not be there yet."""
        self._path = path
        self._stamp: object = None
        self._by_hash: dict[str, Token] = {}

    def create(self, name: str, role: Role) -> str:
        """Make a token, and return it: it is shown this once. Raises RequestInvalid, ConfigInvalid, StorageFailed."""
        if not _NAME.fullmatch(name):
            raise RequestInvalid(f"{one_line(name)!r} is no name for a token; use up to 64 letters, digits, and . _ -")
        text = _PREFIX + secrets.token_urlsafe(32)
        token = Token(name=name, role=role, sha256=_hash(text), created_at=datetime.now(UTC))
        with self._changing() as tokens:
            if any(each.name == name and each.revoked_at is None for each in tokens):
                raise RequestInvalid(f"a token {name} is there already; revoke it, or choose another name")
            tokens.append(token)
        return text

    def revoke(self, name: str) -> Token:
        """End a token. Raises RequestInvalid if none that is valid has the name, ConfigInvalid, StorageFailed."""
        with self._changing() as tokens:
            for index, token in enumerate(tokens):
                if token.name == name and token.revoked_at is None:
                    tokens[index] = replace(token, revoked_at=datetime.now(UTC))
                    return tokens[index]
            raise RequestInvalid(f"no token is named {one_line(name)}; `raymu token list` shows all of them")

    def all(self) -> tuple[Token, ...]:
        """Return all tokens, the revoked ones too, in the order in which they were made. Raises ConfigInvalid."""
        try:
            payload = self._path.read_bytes()
        except FileNotFoundError:
            return ()
        except (OSError, ValueError) as error:  # ValueError: a zero byte
            raise ConfigInvalid(
                f"{one_line(str(self._path))}: the tokens cannot be read ({one_line(error)})"
            ) from error
        try:
            file: _TokenFile = from_json(_TokenFile, payload, source=str(self._path))
        except FileCorrupt as error:
            raise ConfigInvalid(f"{self._path}: is no file of tokens ({one_line(error.problem)})") from error
        return file.tokens

    def find(self, text: str) -> Token | None:
        """Return the valid token that a caller sent; None if there is none such. Raises ConfigInvalid."""
        self._refresh()
        return self._by_hash.get(_hash(text))

    @property
    def has_any(self) -> bool:
        """Whether a token is valid. Raises ConfigInvalid."""
        self._refresh()
        return bool(self._by_hash)

    def _refresh(self) -> None:
        try:
            facts = self._path.stat()
            stamp: object = (facts.st_mtime_ns, facts.st_ino, facts.st_size)
        except OSError:
            stamp = "missing"
        if stamp != self._stamp:
            self._by_hash = {token.sha256: token for token in self.all() if token.revoked_at is None}
            self._stamp = stamp

    @contextmanager
    def _changing(self) -> Iterator[list[Token]]:
        """Change the list while no other process does, and write it whole."""
        _ = self.all()  # refuses a file that is none of tokens
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with _locked(self._path.parent):
                tokens = list(self.all())
                yield tokens
                with atomic_write(self._path) as partial:
                    partial.chmod(0o600)
                    partial.write_bytes(canonical_json(to_tree(_TokenFile(tokens=tuple(tokens)))))
        except OSError as error:
            raise StorageFailed(str(self._path), error.strerror or str(error)) from error


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keep other processes out of a folder, without a file in it. Raises OSError."""
    lock = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def tokens_path() -> Path:
    """Return the file of this user's tokens. Raises ConfigInvalid if the user has no home."""
    if chosen := os.environ.get(VARIABLE):
        return Path(chosen)
    if configured := os.environ.get("XDG_CONFIG_HOME"):
        return Path(configured) / "raymu" / "tokens.json"
    try:
        return Path.home() / ".config" / "raymu" / "tokens.json"
    except RuntimeError as error:
        raise ConfigInvalid(
            f"this user has no home for a file of tokens; name one with --tokens, or {VARIABLE}"
        ) from error


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
