"""From what a source answers to the one number that a check compares.

Upstream decodes a null, and a missing field, to 0, and takes the first or the last of several series, depending on the source. A
verdict must hang on neither: nothing is "no data", several are an error that names them, and a text is not a number.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

from canary.metrics.base import Refused

SHOWN = 3
"""How many of several series an error names."""


def number(value: Any, *, what: str = "the answer", texts: bool = False) -> float | None:
    """The value as a number; None for null and NaN. `texts`: numbers arrive as text. Raises Refused for anything else."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float, str) if texts else (int, float)):
        raise Refused(f"{what} is {kind_of(value)} where a number is needed: {excerpt(value)}")
    try:
        found = float(value)
    except (ValueError, OverflowError):
        raise Refused(f"{what} is no number: {excerpt(value)}") from None
    return None if math.isnan(found) else found


def only(series: Sequence[Any], names: Sequence[Any]) -> Any:
    """The only one, None when there is none. Raises Refused, naming them, when there are several."""
    if len(series) > 1:
        shown = "; ".join(excerpt(name) for name in names[:SHOWN])
        more = f" and {len(series) - SHOWN} more" if len(series) > SHOWN else ""
        raise Refused(f"the query answers with {len(series)} series where one is needed (sum or filter them): {shown}{more}")
    return series[0] if series else None


def part(body: Any, name: str, kind: type) -> Any:
    """A field of an object in an answer; an empty one when it is missing or null. Raises Refused when it is something else."""
    value = body.get(name) if isinstance(body, dict) else None
    if not isinstance(body, dict):
        raise Refused(f"the answer is {kind_of(body)} where an object with {name!r} is needed: {excerpt(body)}")
    if value is None:
        return kind()
    if not isinstance(value, kind):
        raise Refused(f"{name!r} in the answer is {kind_of(value)}, not {kind_of(kind())}: {excerpt(value)}")
    return value


def kind_of(value: Any) -> str:
    """What JSON calls it, with its article."""
    if value is None:
        return "null"
    names = {bool: "a boolean", int: "a number", float: "a number", str: "a text", list: "a list", dict: "an object"}
    return names.get(type(value), type(value).__name__)


def excerpt(value: Any, length: int = 120) -> str:
    """Short, on one line, fit for an event."""
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    text = " ".join(text.split())
    return text if len(text) <= length else f"{text[: length - 1]}…"
