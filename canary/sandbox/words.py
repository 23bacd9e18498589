"""What the operator says, heard from its log.

Events were rejected as the source where the log can be had: the operator counts a message that it repeats (a second run passes the same
weights) instead of posting it again, so a story told from Events has holes.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

from canary.sandbox.stage import Listener

_EVERY = 0.1
"""Seconds between looks at the file."""


async def overhear(log: Path, canary: str, listener: Listener) -> None:
    """Follow a log of the operator for ever and pass on what it says about `canary` (name.namespace)."""
    with log.open("rb") as file:
        rest = b""
        while True:
            head, newline, tail = (rest + file.read()).rpartition(b"\n")
            rest = tail
            for kind, text in spoken(head + newline, canary):
                listener(kind, text)
            await asyncio.sleep(_EVERY)


def spoken(lines: bytes, canary: str) -> Iterator[tuple[str, str]]:
    """Kind and message of each line that is an announcement about `canary`; other lines are the operator's own business."""
    for line in lines.splitlines():
        try:
            said = json.loads(line)
        except ValueError:
            continue
        if isinstance(said, dict) and said.get("canary") == canary and "kind" in said:
            yield ("Normal" if said.get("level") == "info" else "Warning", str(said.get("msg", "")))
