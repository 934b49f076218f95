"""Certificates for tests, with RSA keys."""

from datetime import UTC, datetime, timedelta
from functools import cache
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID


@cache
def rsa_key() -> rsa.RSAPrivateKey:
    """Return one key for all tests of a process."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def write_certificate(folder: Path, domain: str, *addresses: str) -> tuple[Path, Path]:
    """Write a self-signed certificate of a domain and of IP addresses, and its key, and return their files."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, domain)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(rsa_key().public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName(
                [x509.DNSName(domain), *(x509.IPAddress(ip_address(address)) for address in addresses)]
            ),
            critical=False,
        )
        .sign(rsa_key(), hashes.SHA256())
    )
    files = folder / "certificate.pem", folder / "certificate.key"
    files[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(
        rsa_key().private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return files
