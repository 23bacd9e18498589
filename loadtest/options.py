"""What the server can be told on its command line; the names that upstream has mean what they mean there."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from loadtest.goflags import Flag, FlagError, help_text, parse_flags, whole_number
from loadtest.logs import ENCODINGS, LEVELS
from loadtest.units import parse_bool, parse_positive_duration, parse_size


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """The server's settings; timeout in seconds, max_output in bytes."""

    host: str
    port: int
    timeout: float
    namespace_regexp: str
    log_level: str
    zap_encoding: str
    state_dir: Path | None
    token: str
    token_file: Path | None
    allow_cmd: tuple[str, ...]
    max_concurrency: int
    max_output: int


def _one_of(names: Sequence[str]) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text.lower() not in names:
            raise ValueError(f"{text!r} must be one of {', '.join(names)}")
        return text.lower()

    return read


def _pattern(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"{text!r} is no regular expression: {error}") from error
    return text


def _output_size(text: str) -> int:
    size = parse_size(text)
    if not 1024 <= size <= 16 * 1024**2:
        raise ValueError(f"{text!r} must be between 1KiB and 16MiB")
    return size


def _names(text: str) -> tuple[str, ...]:
    return tuple(name for part in text.split(",") if (name := part.strip()))


FLAGS: Final = (
    Flag(name="port", help="port to listen on", read=whole_number(minimum=0, maximum=65535), default=9090),
    Flag(name="host", help="address to listen on; empty is all of them", default=""),
    Flag(name="timeout", help="longest time that a task may run", read=parse_positive_duration, default="1h"),
    Flag(name="namespace-regexp", help="serve only canaries of namespaces that match as a whole", read=_pattern, default=""),
    Flag(name="log-level", help=f"one of {', '.join(LEVELS)}", read=_one_of(tuple(LEVELS)), default="debug"),
    Flag(name="zap-encoding", help="log format: json or console", read=_one_of(ENCODINGS), default="json"),
    Flag(name="zap-replace-globals", help="taken for compatibility, without effect", read=parse_bool, default=False),
    Flag(name="state-dir", help="directory that keeps the gates over restarts; empty keeps them in memory", default=""),
    Flag(name="token", help="callers must present this token (Authorization: Bearer)", default=""),
    Flag(name="token-file", help="the same, read from a file, which may change while we run", default=""),
    Flag(
        name="allow-cmd",
        help="programs that tasks may start, by comma or repeated; commands then run without a shell. Empty allows all",
        read=_names,
        repeated=True,
    ),
    Flag(name="max-concurrency", help="tasks that may run at once; more get 429", read=whole_number(minimum=1), default=32),
    Flag(name="max-output", help="output kept of each task, its beginning and its end", read=_output_size, default="64KiB"),
)


def usage() -> str:
    """What -help prints."""
    return help_text("canary-loadtester [flags]", FLAGS)


def read_options(arguments: Sequence[str]) -> Options:
    """The settings of a command line. Raises FlagError or goflags.HelpRequested."""
    values, rest = parse_flags(FLAGS, arguments)
    if rest:
        raise FlagError(f"{rest[0]!r} is no flag; canary-loadtester takes flags only")
    if values["token"] and values["token-file"]:
        raise FlagError("flags -token and -token-file exclude one another")
    return Options(
        host=values["host"],
        port=values["port"],
        timeout=_default_read(values["timeout"], parse_positive_duration),
        namespace_regexp=values["namespace-regexp"],
        log_level=values["log-level"],
        zap_encoding=values["zap-encoding"],
        state_dir=Path(values["state-dir"]) if values["state-dir"] else None,
        token=values["token"],
        token_file=Path(values["token-file"]) if values["token-file"] else None,
        allow_cmd=tuple(dict.fromkeys(name for names in values["allow-cmd"] for name in names)),
        max_concurrency=values["max-concurrency"],
        max_output=_default_read(values["max-output"], parse_size),
    )


def _default_read(value: Any, read: Callable[[str], Any]) -> Any:
    """Defaults are written as people write them, so that -help shows them so."""
    return read(value) if isinstance(value, str) else value
