"""Validate an object against its compiled schema, with the messages that the API server writes for custom resources.

Why our own: the messages are part of the API (clients show them, `details.causes` is read by tools), and the order of the checks decides
which of several complaints is made. CEL rules are not looked at: see `canary.sandbox.schema`.
"""

from typing import Any, Final, NamedTuple

from canary.sandbox.schema_nodes import INT_OR_STRING, Node, Path, render, show


class Violation(NamedTuple):
    """One broken rule: where (`spec.steps[0].weight`) and the text after the colon of the API server's message."""

    path: str
    message: str

    @property
    def reason(self) -> str:
        """Kubernetes' CauseType for `Status.details.causes[].reason`."""
        for prefix, reason in _REASONS.items():
            if self.message.startswith(prefix):
                return "FieldValueTypeInvalid" if reason == "FieldValueInvalid" and " in body must be of type " in self.message else reason
        return "FieldValueInvalid"


_REASONS: Final = {
    "Required value": "FieldValueRequired",
    "Unsupported value": "FieldValueNotSupported",
    "Duplicate value": "FieldValueDuplicate",
    "Forbidden": "FieldValueForbidden",
    "Too long": "FieldValueTooLong",
    "Too many": "FieldValueTooMany",
    "Not found": "FieldValueNotFound",
    "Invalid value": "FieldValueInvalid",
}
_JSON_NAMES: Final[dict[type, str]] = {
    dict: "object", list: "array", str: "string", bool: "boolean", int: "integer", float: "number", type(None): "null",
}  # fmt: skip


def validate(node: Node, value: Any, path: Path, out: list[Violation]) -> None:
    """Append every violation below `value` to `out`."""
    kind = type(value)
    if node.types and kind not in node.types and not _fits(node, value):
        if value is None and node.nullable:
            return
        name = _JSON_NAMES.get(kind, "unknown")
        out.append(Violation(render(path), f'Invalid value: "{name}": {render(path)} in body must be of type {node.type}: "{name}"'))
        return
    for check in node.checks:
        message = check(value, path)
        if message is not None:
            out.append(Violation(render(path), message))
            break
    if kind is dict:
        _validate_object(node, value, path, out)
    elif kind is list and node.items is not None:
        for index, item in enumerate(value):
            validate(node.items, item, (path, index), out)
        if node.list_type != "atomic":
            _unique(node, value, path, out)
    if node.all_of or node.any_of or node.one_of or node.negated is not None:
        _validate_branches(node, value, path, out)


def _fits(node: Node, value: Any) -> bool:
    """A whole float is an integer in JSON."""
    return type(value) is float and value.is_integer() and node.type in ("integer", INT_OR_STRING)


def _validate_object(node: Node, value: dict[str, Any], path: Path, out: list[Violation]) -> None:
    out.extend(Violation(render((path, key)), "Required value") for key in node.required if key not in value)
    if node.embedded:
        out.extend(Violation(render((path, key)), "Required value") for key in ("apiVersion", "kind") if not value.get(key))
    props, additional = node.props, node.additional
    for key, item in value.items():
        child = props.get(key) or additional
        if child is not None:
            validate(child, item, (path, key), out)


def _unique(node: Node, value: list[Any], path: Path, out: list[Violation]) -> None:
    seen: set[str] = set()
    for index, item in enumerate(value):
        if node.list_type == "map" and isinstance(item, dict) and node.items is not None:
            defaults = node.items.defaults
            shown = "{" + ",".join(f'"{key}":{_quoted(item.get(key, defaults.get(key)))}' for key in node.list_keys) + "}"
        else:
            shown = _quoted(item)
        if shown in seen:
            out.append(Violation(render((path, index)), f"Duplicate value: {shown}"))
        seen.add(shown)


def _fewest(results: list[list[Violation]]) -> list[Violation]:
    """What the branch that came nearest complained about."""
    return results[min(range(len(results)), key=lambda at: len(results[at]))]


def _quoted(value: Any) -> str:
    return show(value) if not isinstance(value, (dict, list)) else repr(value)


def _validate_branches(node: Node, value: Any, path: Path, out: list[Violation]) -> None:
    where = render(path)

    def tried(branches: tuple[Node, ...]) -> list[list[Violation]]:
        results: list[list[Violation]] = []
        for branch in branches:
            found: list[Violation] = []
            validate(branch, value, path, found)
            results.append(found)
        return results

    every = [found for found in tried(node.all_of) if found]
    if every:
        out.extend(one for found in every for one in found)
        hint = ". None validated" if len(every) == len(node.all_of) else ""
        out.append(Violation("<nil>", f'Invalid value: "": "{where}" must validate all the schemas (allOf){hint}'))
    some = tried(node.any_of)
    if some and all(some):
        out.append(Violation("<nil>", f'Invalid value: "": "{where}" must validate at least one schema (anyOf)'))
        out.extend(_fewest(some))
    one = tried(node.one_of)
    good = sum(not found for found in one)
    if one and good != 1:
        hint = "Found none valid" if good == 0 else f"Found {good} valid alternatives"
        out.append(Violation("<nil>", f'Invalid value: "": "{where}" must validate one and only one schema (oneOf). {hint}'))
        if good == 0:
            out.extend(_fewest(one))
    if node.negated is not None and not tried((node.negated,))[0]:
        out.append(Violation("<nil>", f'Invalid value: "": "{where}" must not validate the schema (not)'))
