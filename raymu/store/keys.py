"""The keys of a run, which lie beside its files and outside its journal, and signatures made with them."""

import secrets
from functools import cached_property

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from raymu.errors import FileCorrupt
from raymu.store.files.run_files import RunFiles


def new_signing_key() -> bytes:
    """Generate a private Ed25519 key (RFC 8032), 32 bytes."""
    return Ed25519PrivateKey.generate().private_bytes_raw()


def public_key(signing_key: bytes) -> bytes:
    """Return the public key of a private one, 32 bytes."""
    return Ed25519PrivateKey.from_private_bytes(signing_key).public_key().public_bytes_raw()


def sign(message: bytes, signing_key: bytes) -> str:
    """Return the signature of a message, hex."""
    return Ed25519PrivateKey.from_private_bytes(signing_key).sign(message).hex()


def has_valid_signature(message: bytes, signature: str, public: bytes) -> bool:
    """Return whether a signature, hex, belongs to a message and a public key."""
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(bytes.fromhex(signature), message)
    except (InvalidSignature, ValueError):
        return False
    return True


HASH_KEY, _SIGNING, PUBLIC_KEY = "hash.key", "signing.key", "signing.pub"
KEY_FILES = frozenset({HASH_KEY, _SIGNING, PUBLIC_KEY})


class RunKeys:
    """The key files of a run, read on first use. Reading a key raises FileMissing, FileCorrupt."""

    def __init__(self, files: RunFiles) -> None:
        self._files = files

    def create(self) -> None:
        """Generate and write the keys of a new run. Raises StorageFailed."""
        signing_key = new_signing_key()
        self._write(HASH_KEY, secrets.token_bytes(32), mode=0o600)
        self._write(_SIGNING, signing_key, mode=0o600)
        self._write(PUBLIC_KEY, public_key(signing_key), mode=0o644)

    def copy(self, other: "RunKeys") -> None:
        """Write the keys of another run. Raises StorageFailed."""
        self._write(HASH_KEY, other.hash_key, mode=0o600)
        self._write(_SIGNING, other.signing_key, mode=0o600)
        self._write(PUBLIC_KEY, other.public_key, mode=0o644)

    @cached_property
    def hash_key(self) -> bytes:
        """The secret key of the seals and of the pseudonyms. Without it pseudonyms cannot be linked to ids."""
        return self._read(HASH_KEY)

    @cached_property
    def signing_key(self) -> bytes:
        """The private key that signs receipts."""
        key = self._read(_SIGNING)
        if public_key(key) != self.public_key:
            raise FileCorrupt(self._files.display_path(_SIGNING), f"not the key that {PUBLIC_KEY} belongs to")
        return key

    @cached_property
    def public_key(self) -> bytes:
        """The key with which anyone can check receipts."""
        return self._read(PUBLIC_KEY)

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
