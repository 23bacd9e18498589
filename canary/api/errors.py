"""What is wrong with an object, in its author's spelling: one `Problem` per mistake, all of them at once.

Pydantic's own texts were rejected: they name Python types and models, stop at the field, and say nothing about mending.
"""

from __future__ import annotations

import difflib
import enum
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pydantic_core import ErrorDetails

from canary.api.common import describe


class Level(enum.StrEnum):
    """ERROR: the object cannot be worked with. WARNING: it works, but hardly as its author meant."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake: where (`spec.analysis.metrics[0].interval`), what, and how to mend it (empty when that is plain)."""

    path: str
    message: str
    hint: str = ""
    level: Level = Level.ERROR

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" + (f" ({self.hint})" if self.hint else "")


class InvalidObject(Exception):  # noqa: N818 - the name says what the object is
    """An object that cannot be worked with. `problems` holds every mistake that was found, in the order of the object."""

    reason = "InvalidSpec"

    def __init__(self, kind: str, namespace: str, name: str, problems: Sequence[Problem]) -> None:
        self.kind = kind
        self.namespace = namespace
        self.name = name
        self.problems = tuple(problems)
        where = f"{namespace}/{name}" if namespace else name or "(no name)"
        super().__init__(f"{kind} {where}: " + "; ".join(str(problem) for problem in self.problems))


def path_text(location: Iterable[str | int]) -> str:
    """A location as people write it: `spec.analysis.metrics[0].name`, `metadata["a.b/c"]`."""
    path = ""
    for part in location:
        if isinstance(part, int):
            path += f"[{part}]"
        elif part.isidentifier() or (part.replace("-", "").isalnum() and "-" in part):
            path += f".{part}" if path else part
        else:
            path += f'["{part}"]'
    return path


_KEY_MARK = "[key]"
"""Pydantic's last part of a location for "the key itself"; the part before it is the key."""


def did_you_mean(value: object, choices: Iterable[str]) -> str:
    """A hint naming the closest choice, or empty."""
    close = difflib.get_close_matches(str(value), [choice for choice in choices if choice], n=1)
    return f"did you mean {close[0]}?" if close else ""


def problem_of(error: ErrorDetails) -> Problem:
    """One of pydantic's errors in our words."""
    path, value, kind = path_text(error["loc"]), error["input"], error["type"]
    if error["loc"] and error["loc"][-1] == _KEY_MARK:
        return Problem(path_text(error["loc"][:-2]), f"the key must be text, not {describe(value)}", "put the key in quotes")
    match kind:
        case "missing":
            return Problem(path, "is required", _missing_hint(path, str(error["loc"][-1]), value))
        case "string_type":
            return Problem(path, f"must be text, not {describe(value)}", _quote_hint(value))
        case "bool_type":
            hint = "write it without quotes" if str(value).lower() in ("true", "false") else "write true or false"
            return Problem(path, f"must be true or false, not {describe(value)}", hint)
        case "float_type" | "finite_number":
            return Problem(path, f"must be a number, not {describe(value)}", "write it without quotes" if _is_number(value) else "")
        case "enum":
            return _choice(path, value, str(error.get("ctx", {}).get("expected", "")))
        case "model_type" | "model_attributes_type" | "dict_type" | "mapping_type":
            return Problem(path, f"must be an object, not {describe(value)}")
        case "tuple_type" | "list_type":
            return Problem(path, f"must be a list, not {describe(value)}", "begin each entry with a dash")
        case "value_error":
            return Problem(path, str(error["ctx"]["error"]), _whole_hint(value))
        case _ if kind.startswith(("datetime", "timezone")):
            return Problem(path, f"must be a time, not {describe(value)}", "write it like 2020-01-31T12:00:00Z")
        case _:
            return Problem(path, error["msg"][:1].lower() + error["msg"][1:])


_MISSING_HINTS: Mapping[str, str] = {
    "spec": "a Canary needs a spec with targetRef, service and analysis",
    "spec.targetRef": "name the workload: targetRef: {apiVersion: apps/v1, kind: Deployment, name: ...}",
    "spec.analysis": "add analysis with interval, threshold and one of stepWeight, stepWeights or iterations",
    "spec.service.port": "add the port that callers use, such as port: 9898",
}


def _missing_hint(path: str, name: str, parent: object) -> str:
    if isinstance(parent, Mapping):
        lower = {str(key).lower(): str(key) for key in parent}
        close = difflib.get_close_matches(name.lower(), lower, n=1, cutoff=0.8)
        if close:
            return f"did you mean {name} where it says {lower[close[0]]}?"
    return _MISSING_HINTS.get(path, f"add {name}")


def _quote_hint(value: object) -> str:
    if value is None:
        return "remove the key, or give it a value"
    if isinstance(value, bool):
        return f'write it in quotes: "{str(value).lower()}"'
    return f'write it in quotes: "{value}"' if isinstance(value, (int, float)) else ""


def _is_number(value: object) -> bool:
    try:
        return math.isfinite(float(value)) if isinstance(value, str) else False
    except ValueError:
        return False


def _whole_hint(value: object) -> str:
    if isinstance(value, float) and math.isfinite(value):
        return f"write {math.floor(value)} or {math.ceil(value)}"
    return "write it without quotes" if _is_number(value) else ""


def _choice(path: str, value: object, expected: str) -> Problem:
    choices = [choice.strip("'") for choice in expected.replace(" or ", ", ").split(", ")]
    named = ", ".join(choice for choice in choices if choice)
    return Problem(path, f"must be one of {named}, not {describe(value)}", did_you_mean(value, choices))
