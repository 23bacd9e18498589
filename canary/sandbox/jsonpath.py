"""The part of JSONPath that printer columns and `kubectl` column specifications use.

Supported: fields, `['quoted keys']`, escaped dots, indexes, `[*]`, and filters of the form `[?(@.field=="value")]`. Rejected: a JSONPath
package; none is a dependency, and this much is a page.
"""

import json
import re
from functools import lru_cache
from typing import Any, Final

_STEP: Final = re.compile(
    r"""\.?(?:
        \[\?\(\s*@\.(?P<field>[^=!\s\)]+)\s*(?P<operator>==|!=)\s*(?P<value>"[^"]*"|'[^']*'|[^)\]\s]+)\s*\)\]
      | \[['"](?P<quoted>[^'"]+)['"]\]
      | \[(?P<index>-?\d+|\*)\]
      | (?P<name>(?:\\.|[^.\[\]\\])+)
    )""",
    re.VERBOSE,
)
_Step = tuple[str, Any]


@lru_cache(maxsize=1024)
def compile_path(path: str) -> tuple[_Step, ...]:
    """Parse a path such as `.status.conditions[?(@.type=="Ready")].status`. Raises ValueError."""
    text = path.strip().removeprefix("{").removesuffix("}").removeprefix("$")
    steps: list[_Step] = []
    at = 0
    while at < len(text):
        found = _STEP.match(text, at)
        if found is None or found.end() == at:
            raise ValueError(f"cannot read JSONPath {path!r} at {text[at:]!r}")
        at = found.end()
        if found["field"]:
            value = found["value"]
            wanted = value[1:-1] if value[0] in "\"'" else json.loads(value)
            steps.append(("filter", (found["field"], found["operator"] == "==", wanted)))
        elif found["index"]:
            steps.append(("all", None) if found["index"] == "*" else ("index", int(found["index"])))
        else:
            steps.append(("field", found["quoted"] or re.sub(r"\\(.)", r"\1", found["name"])))
    return tuple(steps)


def find(path: str, obj: Any) -> list[Any]:
    """Every value that the path leads to; none where it leads nowhere."""
    values = [obj]
    for kind, argument in compile_path(path):
        values = [found for value in values for found in _step(kind, argument, value)]
    return values


def _step(kind: str, argument: Any, value: Any) -> list[Any]:
    if kind == "field":
        return [value[argument]] if isinstance(value, dict) and argument in value else []
    if kind == "all":
        return list(value.values()) if isinstance(value, dict) else list(value) if isinstance(value, list) else []
    if not isinstance(value, list):
        return []
    if kind == "index":
        return [value[argument]] if -len(value) <= argument < len(value) else []
    name, equal, wanted = argument
    return [item for item in value if isinstance(item, dict) and (_at(item, name) == wanted) is equal]


def _at(item: Any, dotted: str) -> Any:
    for step in dotted.split("."):
        item = item.get(step) if isinstance(item, dict) else None
    return item
