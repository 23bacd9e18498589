"""AWS Signature Version 4, for the few requests that we send to AWS.

Written out because an SDK for one call would be the largest dependency of this project. Pure: the time is an argument. Checked against
the vectors that AWS publishes.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from urllib.parse import parse_qsl, quote, urlsplit

ALGORITHM = "AWS4-HMAC-SHA256"


@dataclass(frozen=True, slots=True)
class Keys:
    """Credentials of AWS; `token` for temporary ones. `expires` in seconds since 1970, None for lasting ones."""

    key_id: str
    secret: str = field(repr=False)
    token: str = field(default="", repr=False)
    expires: float | None = None


def signed_headers(
    keys: Keys, *, method: str, url: str, headers: Mapping[str, str], body: bytes, region: str, service: str, now: float
) -> dict[str, str]:
    """`headers` (lower-cased) with `host`, `x-amz-date`, `x-amz-security-token` and `authorization`.

    `url`'s path must be encoded; `now` in seconds since 1970.
    """
    stamp = datetime.fromtimestamp(now, UTC).strftime("%Y%m%dT%H%M%SZ")
    parts = urlsplit(url)
    sent = {name.lower(): " ".join(value.split()) for name, value in headers.items()}
    sent |= {"host": parts.netloc, "x-amz-date": stamp}
    if keys.token:
        sent["x-amz-security-token"] = keys.token
    names = ";".join(sorted(sent))
    canonical = "\n".join(
        (
            method,
            _path(parts.path),
            _query(parts.query),
            *(f"{name}:{sent[name]}" for name in sorted(sent)),
            "",
            names,
            hashlib.sha256(body).hexdigest(),
        )
    )
    scope = f"{stamp[:8]}/{region}/{service}/aws4_request"
    to_sign = "\n".join((ALGORITHM, stamp, scope, hashlib.sha256(canonical.encode()).hexdigest()))
    signature = hmac.new(signing_key(keys.secret, stamp[:8], region, service), to_sign.encode(), hashlib.sha256).hexdigest()
    return {**sent, "authorization": f"{ALGORITHM} Credential={keys.key_id}/{scope}, SignedHeaders={names}, Signature={signature}"}


def signing_key(secret: str, day: str, region: str, service: str) -> bytes:
    """The key of one day, region and service. `day` is `YYYYMMDD`."""
    key = f"AWS4{secret}".encode()
    for text in (day, region, service, "aws4_request"):
        key = hmac.new(key, text.encode(), hashlib.sha256).digest()
    return key


def _path(path: str) -> str:
    """Encoded once more, as every service but S3 wants it."""
    return quote(path or "/", safe="/-_.~")


def _query(query: str) -> str:
    pairs = [(quote(name, safe="-_.~"), quote(value, safe="-_.~")) for name, value in parse_qsl(query, keep_blank_values=True)]
    return "&".join(f"{name}={value}" for name, value in sorted(pairs))
