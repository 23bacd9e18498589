"""Names for contents: revisions of a pod template, webhook checksums, run identifiers.

A revision is a hash over canonical JSON of the *stored* object, so that fields which we do not know count and a library
upgrade of ours changes nothing (reference Q47). Upstream's own template hash is taken over a dump of its Go types and
cannot be reproduced; its webhook checksum can, and receivers key on it (reference 2.12.1).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

PREFIX = "v2:"
"""Every revision of ours begins with this; nothing that upstream has written so far does."""

_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
_FNV_OFFSET = 0x811C9DC5
_FNV_PRIME = 0x01000193


def canonical_json(value: object) -> str:
    """Compact JSON with sorted keys; non-ASCII text as it is. Raises ValueError for NaN and infinity, which JSON lacks."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def revision_of(template: Mapping[str, Any]) -> str:
    """`v2:` and 32 hex digits: the revision of a pod template (or of whatever is released), from the stored object.

    Order of keys does not count; everything else does. Strip what the operator itself writes (`flagger-id`, the parking
    node selector) before.
    """
    return PREFIX + hashlib.sha256(canonical_json(template).encode()).hexdigest()[:32]


def is_foreign(revision: str) -> bool:
    """Whether a stored `lastAppliedSpec`/`lastPromotedSpec` was written by somebody else, so cannot be compared with ours.

    Upstream's are at most 10 characters of `456789bcdf` (reference 7.1). Whatever does not carry our prefix is treated
    alike: comparing it would start a release everywhere.
    """
    return bool(revision) and not revision.startswith(PREFIX)


def webhook_checksum(tracked_configs: Mapping[str, str] | None, last_applied_spec: str) -> str:
    """Upstream's checksum over the two fields, which webhook payloads carry (reference 2.12.1; vectors in the tests)."""
    if tracked_configs is None:
        configs = "<nil>"
    else:
        configs = "map[" + " ".join(f"{key}:{tracked_configs[key]}" for key in sorted(tracked_configs)) + "]"
    return _safe_text(
        "(struct { TrackedConfigs *map[string]string; LastAppliedSpec string })"
        f"{{TrackedConfigs:(*map[string]string){configs} LastAppliedSpec:(string){last_applied_spec}}}"
    )


def _safe_text(text: str) -> str:
    """FNV-1a (32 bit) of the text in decimal digits, each replaced by a letter that spells no word."""
    value = _FNV_OFFSET
    for byte in text.encode():
        value = (value ^ byte) * _FNV_PRIME & 0xFFFFFFFF
    return "".join(_ALPHABET[ord(digit) % len(_ALPHABET)] for digit in str(value))


def configs_hash(configs: Mapping[str, str] | None) -> str:
    """16 hex digits over a set of config checksums; none and an empty set are the same."""
    return _short(canonical_json(dict(configs or {})))


def run_id(*, uid: str, revision: str, configs: Mapping[str, str] | None, started_at: str) -> str:
    """16 hex digits that name one run: the same revision released twice gives two runs, replayed once gives one."""
    return _short("\n".join((uid, revision, configs_hash(configs), started_at)))


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
