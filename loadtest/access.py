"""Who may call: a bearer token, and the namespaces that this load tester serves.

Without a token anybody who reaches the Service runs commands with the pod's rights; that stays the default because
plain Flagger manifests must work, but one flag ends it. Flagger cannot send headers, only credentials inside the URL,
so `http://name:TOKEN@load-tester/` is accepted beside `Authorization: Bearer`; the name is then the gates' actor.
mTLS was rejected: a mesh or a NetworkPolicy gives it without code here.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import re
from pathlib import Path
from typing import Final

from loadtest.logs import log


class AccessError(Exception):
    """The token cannot be had at start; the text names the file."""


class TokenGuard:
    """Compares what a caller presents with the token, which may change in its file while we run (a rotated Secret)."""

    def __init__(self, *, token: str = "", token_file: Path | None = None) -> None:
        self._token = token.strip()
        self._file = token_file
        self._seen: tuple[int, int] | None = None
        if token_file is not None:
            try:
                self._read(token_file)
            except OSError as error:
                raise AccessError(f"the token file {token_file} cannot be read: {error.strerror}") from error
            if not self._token:
                raise AccessError(f"the token file {token_file} is empty")

    @property
    def required(self) -> bool:
        """Whether callers need a token at all."""
        return bool(self._token)

    def admit(self, authorization: str) -> str | None:
        """The caller's name (empty for bearer tokens) when its Authorization header is right, else None."""
        if self._file is not None:
            self._follow(self._file)
        scheme, _, credentials = authorization.partition(" ")
        name, presented = "", credentials.strip()
        if scheme.lower() == "basic":
            name, presented = _basic(presented)
        elif scheme.lower() != "bearer":
            return None
        right = hmac.compare_digest(presented.encode(), self._token.encode())
        return name if right else None

    def _follow(self, file: Path) -> None:
        try:
            self._read(file)
        except OSError as error:
            # Between two states of a mounted Secret the file can be missing for a moment: the last token stays valid.
            log.warning("the token file cannot be read, the last token stays valid", extra={"error": str(error)})

    def _read(self, file: Path) -> None:
        status = file.stat()
        stamp = (status.st_ino, status.st_mtime_ns)
        if stamp == self._seen:
            return
        if token := file.read_text(encoding="utf-8", errors="surrogateescape").strip():
            self._token, self._seen = token, stamp


def _basic(credentials: str) -> tuple[str, str]:
    try:
        name, _, password = base64.b64decode(credentials, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return "", ""
    return name, password


class NamespaceFilter:
    """Serves only canaries of matching namespaces. The pattern must match the whole name; upstream's is unanchored,
    so that `prod` also lets `not-prod` in.
    """

    ANY: Final = ""

    def __init__(self, pattern: str = ANY) -> None:
        """Raises re.error for a pattern that cannot be compiled."""
        self._pattern = re.compile(pattern) if pattern else None

    def allows(self, namespace: str) -> bool:
        """Whether a canary of this namespace is served."""
        return self._pattern is None or self._pattern.fullmatch(namespace) is not None
