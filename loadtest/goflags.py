"""Command-line flags as Go's flag package reads them: `-port=8080`, `-port 8080`, `--port`, `-ok`, `-ok=false`.

Both programs here stand in for Go programs, and existing manifests and hooks hold their command lines. argparse was
rejected: it reads options after the first positional argument (Go stops there), and takes `-n5` and abbreviations.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from loadtest.units import parse_bool


class FlagError(ValueError):
    """A command line that cannot be read; the text says which flag and why."""


class HelpRequested(Exception):  # noqa: N818 - a request, not an error
    """`-h` or `-help` was among the flags."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Flag:
    """One flag. `read` turns the text into a value or raises ValueError; a repeated flag collects a list."""

    name: str
    help: str
    read: Callable[[str], Any] = str
    default: Any = None
    repeated: bool = False

    @property
    def is_bool(self) -> bool:
        """Whether the flag may stand without a value."""
        return self.read is parse_bool


def parse_flags(flags: Sequence[Flag], arguments: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """Values by flag name (defaults filled in) and the arguments from the first that is no flag on.

    Raises FlagError for an unknown flag, a missing or unreadable value, HelpRequested for -h and -help.
    """
    known = {flag.name: flag for flag in flags}
    values: dict[str, Any] = {flag.name: [] if flag.repeated else flag.default for flag in flags}
    rest = list(arguments)
    while rest and rest[0].startswith("-") and rest[0] != "-":
        argument = rest.pop(0)
        if argument == "--":
            break
        name, equals, text = argument.removeprefix("-").removeprefix("-").partition("=")
        flag = known.get(name)
        if flag is None:
            if name in {"h", "help"}:
                raise HelpRequested
            raise FlagError(f"flag {argument.split('=')[0]} is not known here; -help lists the flags")
        if not equals:
            text = _value_of(flag, rest)
        _store(values, flag=flag, text=text)
    return values, rest


def _value_of(flag: Flag, rest: list[str]) -> str:
    if flag.is_bool:
        return "true"
    if not rest:
        raise FlagError(f"flag -{flag.name} needs a value: -{flag.name}=VALUE")
    return rest.pop(0)


def _store(values: dict[str, Any], *, flag: Flag, text: str) -> None:
    try:
        value = flag.read(text)
    except ValueError as error:
        raise FlagError(f"flag -{flag.name}: {error}") from error
    if flag.repeated:
        values[flag.name].append(value)
    else:
        values[flag.name] = value


def help_text(usage: str, flags: Sequence[Flag]) -> str:
    """What -help prints: the usage line, then every flag with its explanation and default."""
    lines = [f"Usage: {usage}", ""]
    for flag in flags:
        default = "" if flag.default in (None, "", False) else f" (default {flag.default})"
        lines.append(f"  -{flag.name}")
        lines += textwrap.wrap(f"{flag.help}{default}", width=100, initial_indent=" " * 8, subsequent_indent=" " * 8)
    return "\n".join(lines)


def whole_number(*, minimum: int, maximum: int | None = None) -> Callable[[str], int]:
    """A reader for integers within bounds; it raises ValueError naming the bounds."""

    def read(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise ValueError(f"{text!r} is no whole number") from None
        if value < minimum or (maximum is not None and value > maximum):
            bounds = f"at least {minimum}" if maximum is None else f"between {minimum} and {maximum}"
            raise ValueError(f"{value} must be {bounds}")
        return value

    return read
