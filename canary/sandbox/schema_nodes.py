"""Compile an OpenAPI structural schema, once, into a tree of nodes that every walker of the sandbox shares.

Why one tree: pruning, defaulting, validation, strategic merge and server-side apply all ask the same questions of a field (is it known,
is it a list with keys, is it atomic); answering them from the raw OpenAPI dictionary at every request cost more than the request itself.
Rejected: a generic JSON-schema library (no notion of pruning, list types or Kubernetes' messages, and 20-50 times slower), and pydantic
models made at run time (seconds of compilation for the CRDs of one mesh).

A node is shared by all places that `$ref` it, therefore what belongs to a *place* (default, behaviour for zero values, `retainKeys`) is
kept by the parent, per property name.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

Path = tuple[Any, str | int] | None
"""Linked path `(parent, key)`; None is the root. Rendered only when something is reported: see `render`."""

Check = Callable[[Any, Path], str | None]
"""Looks at a value of the right type; answers a message in Kubernetes' wording, or None."""

_PYTHON_TYPES: Final[Mapping[str, frozenset[type]]] = {
    "string": frozenset((str,)),
    "integer": frozenset((int,)),
    "number": frozenset((int, float)),
    "boolean": frozenset((bool,)),
    "object": frozenset((dict,)),
    "array": frozenset((list,)),
}
_Type = type  # the builtin, which the field `type` of Node hides inside its class
INT_OR_STRING: Final = "integer,string"


@dataclass(slots=True, eq=False)
class Node:
    """One compiled schema. `type` is the JSON type, `integer,string`, or "" where any type may stand."""

    type: str = ""
    types: frozenset[_Type] = frozenset()
    nullable: bool = False
    format: str = ""
    # objects
    props: dict[str, "Node"] = field(default_factory=dict)
    additional: "Node | None" = None
    open: bool = False
    embedded: bool = False
    required: tuple[str, ...] = ()
    defaults: dict[str, Any] = field(default_factory=dict)
    omitted: frozenset[str] = frozenset()
    nulls: frozenset[str] = frozenset()
    retained: frozenset[str] = frozenset()
    atomic: bool = False
    # lists
    items: "Node | None" = None
    list_type: str = "atomic"
    list_keys: tuple[str, ...] = ()
    merge: bool = False
    merge_key: str = ""
    # validation
    checks: tuple[Check, ...] = ()
    all_of: tuple["Node", ...] = ()
    any_of: tuple["Node", ...] = ()
    one_of: tuple["Node", ...] = ()
    negated: "Node | None" = None

    def child(self, key: str) -> "Node":
        """The node of a field or map key; `ANY` where the schema says nothing."""
        return self.props.get(key) or self.additional or ANY


ANY: Final = Node(open=True)
ANY.additional = None


def render(path: Path) -> str:
    """`spec.list[0].key`, the way Kubernetes writes a path in a message; "" for the root."""
    parts: list[str] = []
    while path is not None:
        path, key = path
        parts.append(f"[{key}]" if isinstance(key, int) else f".{key}")
    return "".join(reversed(parts)).removeprefix(".")


def show(value: Any) -> str:
    """A value as Kubernetes quotes it in a message: strings quoted, lists and objects by their size."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return '"' + value.replace('"', '\\"') + '"'
    if isinstance(value, (dict, list)):
        return "0"
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


class Compiler:
    """Turns raw schemas into nodes; `$ref`s are looked up in `definitions` and compiled once, recursion included."""

    def __init__(self, definitions: Mapping[str, Mapping[str, Any]] | None = None) -> None:
        self._definitions = definitions or {}
        self._done: dict[str, Node] = {}

    def definition(self, name: str) -> Node:
        """The node of a named definition. Raises KeyError for an unknown name."""
        node = self._done.get(name)
        if node is None:
            # Registered before it is filled: definitions such as JSONSchemaProps contain themselves.
            node = self._done[name] = Node()
            self._fill(node, self._definitions[name])
        return node

    def node(self, raw: Mapping[str, Any]) -> Node:
        """Compile one schema object."""
        if "$ref" in raw:
            return self.definition(raw["$ref"].rsplit("/", 1)[-1])
        node = Node()
        self._fill(node, raw)
        return node

    def _fill(self, node: Node, raw: Mapping[str, Any]) -> None:
        node.format = raw.get("format", "")
        int_or_string = bool(raw.get("x-kubernetes-int-or-string")) or node.format == "int-or-string"
        node.type = INT_OR_STRING if int_or_string else str(raw.get("type", ""))
        node.types = frozenset((int, str)) if int_or_string else _PYTHON_TYPES.get(node.type, frozenset())
        node.nullable = bool(raw.get("nullable"))
        self._fill_object(node, raw)
        self._fill_list(node, raw)
        node.checks = tuple(compile_checks(raw))
        if not int_or_string:  # the anyOf of an int-or-string only repeats its two types
            node.any_of = tuple(self.node(one) for one in raw.get("anyOf", ()))
        node.all_of = tuple(self.node(one) for one in raw.get("allOf", ()) if not _repeats_int_or_string(one, int_or_string=int_or_string))
        node.one_of = tuple(self.node(one) for one in raw.get("oneOf", ()))
        node.negated = self.node(raw["not"]) if "not" in raw else None

    def _fill_object(self, node: Node, raw: Mapping[str, Any]) -> None:
        props: Mapping[str, Any] = raw.get("properties") or {}
        node.props = {name: self.node(one) for name, one in props.items()}
        node.defaults = {name: one["default"] for name, one in props.items() if "default" in one}
        node.omitted = frozenset(name for name, one in props.items() if one.get("x-zero") == "omit")
        node.nulls = frozenset(name for name, one in props.items() if one.get("x-zero") == "null")
        node.retained = frozenset(name for name, one in props.items() if "retainKeys" in one.get("x-kubernetes-patch-strategy", ""))
        additional = raw.get("additionalProperties")
        if isinstance(additional, Mapping):
            node.additional = self.node(additional)
        untyped = not node.type and not props and node.additional is None
        node.open = bool(raw.get("x-kubernetes-preserve-unknown-fields")) or additional is True or untyped
        node.embedded = bool(raw.get("x-kubernetes-embedded-resource"))
        node.required = tuple(raw.get("required") or ())
        node.atomic = raw.get("x-kubernetes-map-type") == "atomic"

    def _fill_list(self, node: Node, raw: Mapping[str, Any]) -> None:
        if isinstance(raw.get("items"), Mapping):
            node.items = self.node(raw["items"])
        node.list_type = raw.get("x-kubernetes-list-type") or "atomic"
        node.list_keys = tuple(raw.get("x-kubernetes-list-map-keys") or ())
        node.merge = "merge" in raw.get("x-kubernetes-patch-strategy", "").split(",")
        node.merge_key = raw.get("x-kubernetes-patch-merge-key", "")


def _repeats_int_or_string(raw: Mapping[str, Any], *, int_or_string: bool) -> bool:
    return int_or_string and set(raw) == {"anyOf"}


_FLAGS: Final = re.compile(r"\(\?([imsU]+)\)")


def go_pattern(pattern: str) -> re.Pattern[str] | None:
    """A Go (RE2) pattern for Python: ASCII classes, `$` only at the very end, flags wherever they stand.

    None when Python cannot read it (nothing is checked then).
    """
    flags = re.ASCII
    for letters in _FLAGS.findall(pattern):
        flags |= re.IGNORECASE if "i" in letters else 0
        flags |= re.DOTALL if "s" in letters else 0
    pattern = _FLAGS.sub("", pattern)
    out: list[str] = []
    in_class = False
    index = 0
    while index < len(pattern):
        char = pattern[index]
        if char == "\\":
            out.append("\\Z" if pattern[index : index + 2] == "\\z" else pattern[index : index + 2])
            index += 2
            continue
        if char == "[":
            in_class = True
        elif char == "]":
            in_class = False
        out.append("\\Z" if char == "$" and not in_class else char)
        index += 1
    try:
        return re.compile("".join(out), flags)
    except re.error:
        return None


def compile_checks(raw: Mapping[str, Any]) -> list[Check]:
    """The value checks of one schema, in the order in which Kubernetes reports them."""
    checks: list[Check] = []
    _string_checks(raw, checks)
    _number_checks(raw, checks)
    _size_checks(raw, checks)
    if "enum" in raw:
        allowed = list(raw["enum"])
        names = ", ".join(f'"{one}"' for one in allowed)
        checks.append(lambda value, _: None if value in allowed else f"Unsupported value: {show(value)}: supported values: {names}")
    return checks


def _string_checks(raw: Mapping[str, Any], checks: list[Check]) -> None:
    if "maxLength" in raw:
        checks.append(_longest(raw["maxLength"]))
    if "minLength" in raw:
        checks.append(
            _limit(lambda value, bound: isinstance(value, str) and len(value) < bound, raw["minLength"], "at least {} chars long")
        )
    if "pattern" in raw:
        regex = go_pattern(raw["pattern"])
        if regex is not None:
            checks.append(_matching(regex, raw["pattern"]))
    if raw.get("format") == "date-time" and raw.get("type") == "string":
        checks.append(_timestamp)


def _longest(bound: int) -> Check:
    def check(value: Any, _path: Path) -> str | None:
        return f"Too long: may not be more than {bound} bytes" if isinstance(value, str) and len(value) > bound else None

    return check


def _matching(regex: re.Pattern[str], source: str) -> Check:
    def check(value: Any, path: Path) -> str | None:
        if not isinstance(value, str) or regex.search(value):
            return None
        return f"Invalid value: {show(value)}: {render(path)} in body should match '{source}'"

    return check


_TIMESTAMP: Final = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:?\d\d)\Z")


def _timestamp(value: Any, path: Path) -> str | None:
    if not isinstance(value, str) or _TIMESTAMP.match(value):
        return None
    return f"Invalid value: {show(value)}: {render(path)} in body must be of type date-time: {show(value)}"


def _limit(broken: Callable[[Any, Any], bool], bound: Any, wording: str) -> Check:
    def check(value: Any, path: Path) -> str | None:
        if not broken(value, bound):
            return None
        return f"Invalid value: {show(value)}: {render(path)} in body should be {wording.format(bound)}"

    return check


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _number_checks(raw: Mapping[str, Any], checks: list[Check]) -> None:
    if "multipleOf" in raw:
        checks.append(_limit(lambda value, bound: _is_number(value) and value % bound != 0, raw["multipleOf"], "a multiple of {}"))
    if "maximum" in raw and raw.get("exclusiveMaximum"):
        checks.append(_limit(lambda value, bound: _is_number(value) and value >= bound, raw["maximum"], "less than {}"))
    elif "maximum" in raw:
        checks.append(_limit(lambda value, bound: _is_number(value) and value > bound, raw["maximum"], "less than or equal to {}"))
    if "minimum" in raw and raw.get("exclusiveMinimum"):
        checks.append(_limit(lambda value, bound: _is_number(value) and value <= bound, raw["minimum"], "greater than {}"))
    elif "minimum" in raw:
        checks.append(_limit(lambda value, bound: _is_number(value) and value < bound, raw["minimum"], "greater than or equal to {}"))


def _size_checks(raw: Mapping[str, Any], checks: list[Check]) -> None:
    for kind, most, least, noun in ((list, "maxItems", "minItems", "items"), (dict, "maxProperties", "minProperties", "properties")):
        if most in raw:
            checks.append(_at_most(kind, raw[most]))
        if least in raw:
            checks.append(_at_least(kind, raw[least], noun))


def _at_most(kind: type, bound: int) -> Check:
    def check(value: Any, _path: Path) -> str | None:
        return f"Too many: {len(value)}: must have at most {bound} items" if isinstance(value, kind) and len(value) > bound else None  # type: ignore[arg-type]

    return check


def _at_least(kind: type, bound: int, noun: str) -> Check:
    def check(value: Any, path: Path) -> str | None:
        if not isinstance(value, kind) or len(value) >= bound:  # type: ignore[arg-type]
            return None
        return f"Invalid value: 0: {render(path)} in body should have at least {bound} {noun}"

    return check
