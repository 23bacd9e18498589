"""Prints the part of the project's requirements lock that the load tester's image needs, hashes included.

A second lock beside the first was rejected: two locks drift apart. Installing all of it was rejected: the image would
carry the operator's libraries. A test holds PACKAGES to what aiohttp and prometheus-client really require.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

PACKAGES: Final = (
    "aiohappyeyeballs",
    "aiohttp",
    "aiosignal",
    "attrs",
    "frozenlist",
    "idna",
    "multidict",
    "prometheus-client",
    "propcache",
    "typing-extensions",
    "yarl",
)
_START: Final = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)==")


def subset(lock: str, packages: Sequence[str] = PACKAGES) -> str:
    """The entries of these packages, unchanged. Raises ValueError naming packages that the lock does not pin."""
    entries: dict[str, list[str]] = {}
    current: list[str] = []
    for line in lock.splitlines():
        if start := _START.match(line):
            current = entries.setdefault(start[1].lower(), [])
        if line.startswith((" ", "\t")) or start:
            current.append(line)
    missing = sorted(set(packages) - set(entries))
    if missing:
        raise ValueError(f"the lock pins no {', '.join(missing)}; run `make lock`, or mend PACKAGES in loadtest/lock_subset.py")
    return "\n".join(line for name in sorted(packages) for line in entries[name]) + "\n"


def main(arguments: Sequence[str]) -> int:
    """`python lock_subset.py requirements.lock`: the subset on stdout; 1 with one line on stderr when it cannot be had."""
    try:
        (path,) = arguments
        sys.stdout.write(subset(Path(path).read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        sys.stderr.write(f"lock_subset: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
