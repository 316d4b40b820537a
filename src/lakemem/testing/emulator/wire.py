"""As much of Postgres's frontend/backend protocol as it takes to log in on somebody's behalf.

Source: https://www.postgresql.org/docs/current/protocol-message-formats.html
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import struct
from asyncio import IncompleteReadError, StreamReader, StreamWriter
from dataclasses import dataclass

SSL_REQUEST = 80877103
GSS_REQUEST = 80877104
CANCEL_REQUEST = 80877102

AUTHENTICATION_OK = b"R" + struct.pack("!ii", 8, 0)
ASK_FOR_CLEARTEXT_PASSWORD = b"R" + struct.pack("!ii", 8, 3)
_OK, _SASL, _SASL_CONTINUE, _SASL_FINAL = 0, 10, 11, 12

MAX_MESSAGE = 1 << 20


class ProtocolError(Exception):
    """The other side does not speak the protocol."""


class Refused(Exception):
    """The login was refused, with this message of Postgres."""

    def __init__(self, message: bytes) -> None:
        super().__init__("login refused")
        self.message = message


@dataclass(frozen=True, slots=True)
class Startup:
    """A client's first message.

    Attributes:
        code: the protocol version, or one of the requests above.
        body: what follows the code.
    """

    code: int
    body: bytes

    @property
    def parameters(self) -> dict[str, str]:
        words = self.body.rstrip(b"\0").decode("utf-8", "replace").split("\0")
        return dict(zip(words[::2], words[1::2], strict=False))

    def encoded(self) -> bytes:
        return struct.pack("!ii", len(self.body) + 8, self.code) + self.body


async def read_startup(reader: StreamReader) -> Startup:
    """Read the first message of a connection, which has no type."""
    length, code = struct.unpack("!ii", await reader.readexactly(8))
    if not 8 <= length <= MAX_MESSAGE:
        raise ProtocolError("not a Postgres client")
    return Startup(code, await reader.readexactly(length - 8))


async def read_message(reader: StreamReader) -> tuple[bytes, bytes]:
    """Read a message: its type, and its body."""
    head = await reader.readexactly(5)
    [length] = struct.unpack("!i", head[1:])
    if not 4 <= length <= MAX_MESSAGE:
        raise ProtocolError("a message of an impossible length")
    return head[:1], await reader.readexactly(length - 4)


def message(kind: bytes, body: bytes) -> bytes:
    """Encode a message."""
    return kind + struct.pack("!i", len(body) + 4) + body


def fatal(sqlstate: str, text: str) -> bytes:
    """Encode an error that ends the connection."""
    fields = {"S": "FATAL", "V": "FATAL", "C": sqlstate, "M": text}
    return message(b"E", b"".join(key.encode() + value.encode() + b"\0" for key, value in fields.items()) + b"\0")


async def log_in(reader: StreamReader, writer: StreamWriter, startup: Startup, password: str) -> bytes:
    """Log in to Postgres with scram-sha-256 alone, and return what to tell the client.

    Raises:
        Refused: Postgres refused, or would have let the client in without a look at the password.
    """
    writer.write(startup.encoded())
    notes = b""
    scram = _Scram(password)
    while True:
        try:
            kind, body = await read_message(reader)
        except IncompleteReadError:
            raise Refused(fatal("57P03", "the server closed the connection")) from None
        if kind == b"E":
            raise Refused(message(kind, body))
        if kind != b"R":
            notes += message(kind, body)
            continue
        [step] = struct.unpack("!i", body[:4])
        if step == _OK and scram.verified:
            return notes + AUTHENTICATION_OK
        if step == _SASL and b"SCRAM-SHA-256\0" in body[4:]:
            first = scram.first()
            writer.write(message(b"p", b"SCRAM-SHA-256\0" + struct.pack("!i", len(first)) + first))
        elif step == _SASL_CONTINUE:
            writer.write(message(b"p", scram.final(body[4:])))
        elif step == _SASL_FINAL:
            scram.verify(body[4:])
        else:
            raise Refused(fatal("28000", "this role does not log in with scram-sha-256"))


class _Scram:
    """The client's side of RFC 5802, without channel binding: the way to Postgres is a local socket."""

    def __init__(self, password: str) -> None:
        self.verified = False
        self._password = password.encode()
        self._first = f"n=,r={secrets.token_urlsafe(18)}"
        self._signature = b""

    def first(self) -> bytes:
        return b"n,," + self._first.encode()

    def final(self, server_first: bytes) -> bytes:
        fields = dict(field.split("=", 1) for field in server_first.decode().split(","))
        salted = hashlib.pbkdf2_hmac("sha256", self._password, base64.b64decode(fields["s"]), int(fields["i"]))
        without_proof = f"c=biws,r={fields['r']}"
        authenticated = f"{self._first},{server_first.decode()},{without_proof}".encode()
        client_key = _hmac(salted, b"Client Key")
        mask = _hmac(hashlib.sha256(client_key).digest(), authenticated)
        proof = bytes(a ^ b for a, b in zip(client_key, mask, strict=True))
        self._signature = _hmac(_hmac(salted, b"Server Key"), authenticated)
        return f"{without_proof},p={base64.b64encode(proof).decode()}".encode()

    def verify(self, server_final: bytes) -> None:
        self.verified = hmac.compare_digest(server_final, b"v=" + base64.b64encode(self._signature))


def _hmac(key: bytes, data: bytes) -> bytes:
    return hmac.new(key, data, hashlib.sha256).digest()
