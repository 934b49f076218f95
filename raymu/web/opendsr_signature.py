"""What OpenDSR signs with: an RSA key, and the certificate of the service's domain."""

import base64
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from raymu.errors import ConfigInvalid
from raymu.input_file import read_input

_LARGEST = 100_000
_FEWEST_BITS = 2048


class DomainSignature:
    """Signs for a domain."""

    def __init__(self, domain: str, certificate: Path, private_key: Path) -> None:
        """Read the files.

        Raises:
            ConfigInvalid: They cannot be read, do not belong together, or are not of the domain.
        """
        self.domain, self.certificate = domain, _read("certificate", certificate)
        try:
            leaf = x509.load_pem_x509_certificates(self.certificate)[0]
            names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            domains = [name.lower() for name in names.get_values_for_type(x509.DNSName)]
        except (ValueError, x509.ExtensionNotFound) as error:
            raise ConfigInvalid(f"opendsr.certificate: {certificate} is no certificate of a domain, as PEM") from error
        try:
            key = serialization.load_pem_private_key(_read("private_key", private_key), password=None)
        except (ValueError, TypeError) as error:
            raise ConfigInvalid(f"opendsr.private_key: {private_key} is no key without a password, as PEM") from error
        if not isinstance(key, rsa.RSAPrivateKey) or key.key_size < _FEWEST_BITS:
            raise ConfigInvalid(
                f"opendsr.private_key: {private_key} is no RSA key of at least {_FEWEST_BITS:,} bits; use such a key"
            )
        if leaf.public_key() != key.public_key():
            raise ConfigInvalid(f"opendsr.private_key: {private_key} is not the key of {certificate}")
        if domain not in domains and f"*.{domain.partition('.')[2]}" not in domains:
            raise ConfigInvalid(f"opendsr.certificate: {certificate} is not of {domain}; controllers would refuse it")
        if leaf.not_valid_after_utc < datetime.now(UTC):
            raise ConfigInvalid(f"opendsr.certificate: {certificate} has expired; get a new one")
        self._key = key

    def headers(self, body: bytes) -> dict[str, str]:
        """Return the headers by which a controller knows who sent a body."""
        signature = self._key.sign(body, padding.PKCS1v15(), hashes.SHA256())
        return {
            "X-OpenDSR-Processor-Domain": self.domain,
            "X-OpenDSR-Signature": base64.b64encode(signature).decode(),
        }


def _read(setting: str, path: Path) -> bytes:
    try:
        return read_input(path, largest=_LARGEST)
    except (OSError, ValueError) as error:
        raise ConfigInvalid(f"opendsr.{setting}: {path} cannot be read") from error
