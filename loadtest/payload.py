"""The JSON that an operator posts to a hook: `{name, namespace, phase, checksum, metadata}`.

Shapes and replies are upstream's (webhook payload of Flagger 1.44). A model library was rejected: five optional
fields, and the error texts are part of the interface.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


class HookError(Exception):
    """A request that is answered with an error: HTTP status and a plain text that the caller will show."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


@dataclass(frozen=True, kw_only=True, slots=True)
class Payload:
    """What one hook call says; absent fields are empty."""

    name: str = ""
    namespace: str = ""
    phase: str = ""
    checksum: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)

    @property
    def canary(self) -> str:
        """`<name>.<namespace>`: how logs, gates and metrics name the canary."""
        return f"{self.name}.{self.namespace}"


def parse_payload(body: bytes) -> Payload:
    """Read a hook body. Raises HookError 400 naming the field that is wrong; unknown fields are ignored."""
    try:
        data = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise HookError(400, f"the request body is no JSON: {error}") from error
    if not isinstance(data, dict):
        raise HookError(400, "the request body must be a JSON object with name, namespace and metadata")
    texts = {key: _text(data.get(key), where=key) for key in ("name", "namespace", "phase", "checksum")}
    return Payload(metadata=_metadata(data.get("metadata")), **texts)


def _text(value: Any, *, where: str) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise HookError(400, f"{where} must be a string, not {json.dumps(value)[:80]}")
    try:
        value.encode()
    except UnicodeEncodeError as error:  # half of a surrogate pair: no program, file or log can take it
        raise HookError(400, f"{where} holds an escape that is no character") from error
    return value


def _metadata(value: Any) -> dict[str, str]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise HookError(400, "metadata must be an object of strings")
    return {_text(key, where="a key of metadata"): _text(item, where=f"metadata.{key}") for key, item in value.items()}
