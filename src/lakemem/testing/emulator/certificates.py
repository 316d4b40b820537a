"""The certificate with which the emulator's Postgres speaks TLS, and the authority that vouches for it."""

from __future__ import annotations

import ipaddress
import secrets
import ssl
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

LIFETIME = timedelta(days=30)


class Certificates:
    """An authority of its own, and one certificate for all DNS names below a domain.

    Attributes:
        authority: the file to name as ``sslrootcert`` with ``sslmode=verify-full``.
    """

    def __init__(self, folder: Path, domain: str) -> None:
        self.authority = folder / "ca.pem"
        self._chain = folder / "server.pem"
        authority_key, server_key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
        # A name of its own, so that a client that knows another emulator's authority says it does not know this one.
        issuer = _name(f"Lakebase emulator {secrets.token_hex(4)}")
        authority = (
            _certificate(issuer, issuer, authority_key)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(authority_key, hashes.SHA256())
        )
        server = (
            _certificate(_name(f"*.{domain}"), issuer, server_key)
            .add_extension(
                x509.SubjectAlternativeName(
                    [
                        x509.DNSName(f"*.{domain}"),
                        x509.DNSName("localhost"),
                        x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
                    ]
                ),
                critical=False,
            )
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .sign(authority_key, hashes.SHA256())
        )
        key = server_key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        self.authority.write_bytes(authority.public_bytes(serialization.Encoding.PEM))
        self._chain.touch(mode=0o600)
        self._chain.write_bytes(key + server.public_bytes(serialization.Encoding.PEM))

    def server_context(self, asked_for: Callable[[ssl.SSLObject, str | None], None]) -> ssl.SSLContext:
        """Return a context for servers that tells which name a client asks for."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self._chain)
        context.sni_callback = lambda connection, name, _: asked_for(connection, name)
        return context


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name[:64])])


def _certificate(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        # A client whose clock is a little behind accepts it too.
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + LIFETIME)
    )
