"""One line of JSON per thing that happened, on stderr, with the keys that upstream's users pipe into `jq`.

Keys: `ts` (RFC 3339), `level`, `msg`, `canary` (`name.namespace`), and whatever else a call passes in `extra={"fields": {...}}`.
structlog was considered: the standard library with one formatter does all that is needed here.
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any

LEVELS = {"debug": 10, "info": 20, "warn": 30, "warning": 30, "error": 40, "fatal": 50, "panic": 50}


class JsonFormatter(logging.Formatter):
    """Upstream's zap keys."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "level": record.levelname.lower().replace("warning", "warn").replace("critical", "fatal"),
            "ts": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "caller": f"{record.module}.py:{record.lineno}",
            "msg": record.getMessage(),
        }
        line.update(getattr(record, "fields", {}))
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


class TextFormatter(logging.Formatter):
    """For a person at a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        stamp = datetime.fromtimestamp(record.created).astimezone().strftime("%H:%M:%S.%f")[:-3]
        fields = " ".join(f"{key}={value}" for key, value in getattr(record, "fields", {}).items())
        text = f"{stamp} {record.levelname[:4].lower()} {record.getMessage()} {fields}".rstrip()
        return f"{text}\n{self.formatException(record.exc_info)}" if record.exc_info else text


def configure(*, level: str, style: str) -> None:
    """Send everything to stderr; kopf and aiohttp only speak when something is wrong, unless debugging."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(TextFormatter() if style == "text" else JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(LEVELS.get(level, logging.INFO))
    quiet = logging.DEBUG if level == "debug" else logging.WARNING
    for name in ("kopf", "aiohttp", "asyncio", "httpx", "httpcore", "urllib3", "prometheus_api_client"):
        logging.getLogger(name).setLevel(max(quiet, logging.INFO))


def about(namespace: str, name: str, **fields: object) -> dict[str, Any]:
    """`extra=` of a log call about one canary."""
    return {"fields": {"canary": f"{name}.{namespace}", **fields}}
