"""Log lines on stderr, one JSON object each, with the keys that log pipelines for Flagger already read.

A logging library was rejected: the standard one with a formatter of 20 lines does it.
"""

from __future__ import annotations

import json
import logging
import sys
from typing import Final

from loadtest.units import format_time, now

#: names that upstream accepts, and what they mean here
LEVELS: Final = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "warning": logging.WARNING,
    "error": logging.ERROR,
    "dpanic": logging.CRITICAL,
    "panic": logging.CRITICAL,
    "fatal": logging.CRITICAL,
}
ENCODINGS: Final = ("json", "console")
_NAMES: Final = {logging.DEBUG: "debug", logging.INFO: "info", logging.WARNING: "warn", logging.ERROR: "error", logging.CRITICAL: "fatal"}
_EXTRA: Final = ("canary", "task", "type", "output", "error", "address")

log: Final = logging.getLogger("loadtest")


class _Fields(logging.Formatter):
    def fields(self, record: logging.LogRecord) -> dict[str, str]:
        found = {"level": _NAMES.get(record.levelno, "info"), "ts": format_time(now()), "msg": record.getMessage()}
        found.update({key: str(record.__dict__[key]) for key in _EXTRA if key in record.__dict__})
        if record.exc_info:
            found["stacktrace"] = self.formatException(record.exc_info)
        return found


class JsonFormatter(_Fields):
    """`{"level":"info","ts":"…Z","msg":"…","canary":"podinfo.test"}`; other keys only where they apply."""

    def format(self, record: logging.LogRecord) -> str:
        """One line of JSON."""
        return json.dumps(self.fields(record), ensure_ascii=False, separators=(",", ":"))


class ConsoleFormatter(_Fields):
    """The same fields for people: time, level, message, then the rest as JSON, tab-separated."""

    def format(self, record: logging.LogRecord) -> str:
        """One line of columns."""
        fields = self.fields(record)
        head = [fields.pop(key) for key in ("ts", "level", "msg")]
        return "\t".join([*head, json.dumps(fields, ensure_ascii=False)] if fields else head)


def configure_logs(*, level: str, encoding: str) -> None:
    """Send everything (ours and the libraries' warnings) to stderr at this level and encoding."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if encoding == "json" else ConsoleFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    log.setLevel(LEVELS[level])
