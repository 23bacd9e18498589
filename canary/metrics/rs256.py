"""RS256: signing with an RSA key from a PEM file, on the standard library alone.

Google's service-account keys are used for one thing here, signing a short assertion once an hour. `cryptography` for that would add a
compiled dependency of several MiB; the signature is RSASSA-PKCS1-v1_5 with SHA-256 (RFC 8017, 8.2), deterministic and ten lines. The
exponentiation is blinded against timing, and every signature is verified before it leaves, so that a fault cannot give the key away.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import math
import re
import secrets
from dataclasses import dataclass

SHA256_PREFIX = bytes.fromhex("3031300d060960864801650304020105000420")
"""DER head of a SHA-256 digest (RFC 8017, 9.2, note 1)."""
SEQUENCE, INTEGER, OCTETS = 0x30, 0x02, 0x04
_PEM = re.compile(r"-----BEGIN (RSA )?PRIVATE KEY-----(.*?)-----END (?:RSA )?PRIVATE KEY-----", re.DOTALL)


@dataclass(frozen=True, slots=True, repr=False)
class PrivateKey:
    """Modulus, public and private exponent."""

    n: int
    e: int
    d: int


def load(pem: str) -> PrivateKey:
    """The RSA key of a PKCS#8 or PKCS#1 PEM. Raises ValueError, without saying anything of the key."""
    found = _PEM.search(pem)
    if not found:
        raise ValueError("there is no unencrypted PEM private key")
    try:
        data = base64.b64decode("".join(found.group(2).split()), validate=True)
        parts = _sequence(data)
        if not found.group(1):  # PKCS#8: version, algorithm, and the key itself in an octet string
            parts = _sequence(parts[2][1])
        numbers = [int.from_bytes(content, "big") for tag, content in parts if tag == INTEGER]
        _, n, e, d = numbers[:4]
    except (ValueError, IndexError, binascii.Error):
        raise ValueError("the private key is no RSA key in PEM") from None
    if n.bit_length() < 1024:
        raise ValueError("the private key is too short")
    return PrivateKey(n, e, d)


def sign(key: PrivateKey, message: bytes) -> bytes:
    """The signature, as long as the modulus."""
    size = (key.n.bit_length() + 7) // 8
    digest = SHA256_PREFIX + hashlib.sha256(message).digest()
    padded = int.from_bytes(b"\x00\x01" + b"\xff" * (size - len(digest) - 3) + b"\x00" + digest, "big")
    while math.gcd(blind := secrets.randbelow(key.n - 2) + 2, key.n) != 1:
        pass  # pragma: no cover - this would be a factor of the key
    signature = pow(padded * pow(blind, key.e, key.n), key.d, key.n) * pow(blind, -1, key.n) % key.n
    if pow(signature, key.e, key.n) != padded:
        raise ValueError("its numbers do not belong together")
    return signature.to_bytes(size, "big")


def _sequence(data: bytes) -> list[tuple[int, bytes]]:
    """(tag, content) of everything inside one DER sequence."""
    tag, content, _ = _element(data, 0)
    if tag != SEQUENCE:
        raise ValueError("no sequence")
    parts, at = [], 0
    while at < len(content):
        tag, inner, at = _element(content, at)
        parts.append((tag, inner))
    return parts


def _element(data: bytes, at: int) -> tuple[int, bytes, int]:
    tag, length = data[at], data[at + 1]
    at += 2
    if length & 0x80:
        count = length & 0x7F
        length = int.from_bytes(data[at : at + count], "big")
        at += count
    if at + length > len(data):
        raise ValueError("cut short")
    return tag, data[at : at + length], at + length
