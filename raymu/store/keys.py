"""The keys of a run: they lie beside its files, and outside its journal."""

import secrets
from functools import cached_property

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from raymu.errors import FileCorrupt
from raymu.store.files.run_files import RunFiles


def new_signing_key() -> bytes:
    """A private key, 32 bytes."""
    return Ed25519PrivateKey.generate().private_bytes_raw()


def public_key(signing_key: bytes) -> bytes:
    """The public key that belongs to a private one, 32 bytes."""
    return Ed25519PrivateKey.from_private_bytes(signing_key).public_key().public_bytes_raw()


def sign(message: bytes, signing_key: bytes) -> str:
    """returns: the signature, hex"""
    return Ed25519PrivateKey.from_private_bytes(signing_key).sign(message).hex()


def has_valid_signature(message: bytes, signature: str, public: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(bytes.fromhex(signature), message)
    except (InvalidSignature, ValueError):
        return False
    return True


_HASH, _SIGNING, _PUBLIC = "hash.key", "signing.key", "signing.pub"
KEY_FILES = frozenset({_HASH, _SIGNING, _PUBLIC})


class RunKeys:
    """Read when they are asked for. Each raises FileMissing, FileCorrupt."""

    def __init__(self, files: RunFiles) -> None:
        self._files = files

    def create(self) -> None:
        signing_key = new_signing_key()
        self._write(_HASH, secrets.token_bytes(32), mode=0o600)
        self._write(_SIGNING, signing_key, mode=0o600)
        self._write(_PUBLIC, public_key(signing_key), mode=0o644)

    def copy(self, other: "RunKeys") -> None:
        """Take over another run's keys."""
        self._write(_HASH, other.hash_key, mode=0o600)
        self._write(_SIGNING, other.signing_key, mode=0o600)
        self._write(_PUBLIC, other.public_key, mode=0o644)

    @cached_property
    def hash_key(self) -> bytes:
        """Of the seals, and of the hashes that stand for purged ids; without it those say nothing."""
        return self._read(_HASH)

    @cached_property
    def signing_key(self) -> bytes:
        """Private: receipts are signed with it."""
        key = self._read(_SIGNING)
        if public_key(key) != self.public_key:
            raise FileCorrupt(self._files.display_path(_SIGNING), f"not the key that {_PUBLIC} belongs to")
        return key

    @cached_property
    def public_key(self) -> bytes:
        """Whoever has a copy of it can check receipts."""
        return self._read(_PUBLIC)

    def _write(self, name: str, key: bytes, *, mode: int) -> None:
        self._files.write(name, key.hex().encode(), mode=mode)

    def _read(self, name: str) -> bytes:
        try:
            payload = self._files.read(name)
            key = bytes.fromhex(payload.decode())
        except ValueError:
            key = b""
        if len(key) != 32 or key.hex().encode() != payload:
            raise FileCorrupt(self._files.display_path(name), "not a key of 32 bytes in hex")
        return key
