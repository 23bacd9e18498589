"""Label and field selectors of list, watch and deletecollection.

Compiled once per request into one predicate over an object, or None when everything matches, so that unselective lists pay nothing.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from canary.sandbox.errors import bad_request

Match = Callable[[Mapping[str, Any]], bool]
_Requirement = Callable[[Mapping[str, str]], bool]
Fields = Mapping[str, Callable[[Mapping[str, Any]], str]]
"""The fields that a resource can be selected by, beside name and namespace, and how to read each (as text, "" when absent)."""

_SET: Final = re.compile(r"\s*([^\s!=,()<>]+)\s+(in|notin)\s*\(([^)]*)\)\s*\Z")
_EQUAL: Final = re.compile(r"\s*([^\s!=,()<>]+)\s*(==|=|!=|>|<)\s*([^\s,()=!]*)\s*\Z")
_EXISTS: Final = re.compile(r"\s*(!?)\s*([^\s!=,()<>]+)\s*\Z")


def label_match(text: str) -> Match | None:
    """Parse a label selector (`a=b, c!=d, e in (f,g), h, !i, n>1`). Raises ApiError 400."""
    requirements = [_requirement(part) for part in _split(text)]
    if not requirements:
        return None

    def match(obj: Mapping[str, Any]) -> bool:
        labels = obj["metadata"].get("labels") or {}
        return all(holds(labels) for holds in requirements)

    return match


def _split(text: str) -> list[str]:
    """Parts between commas that stand outside brackets."""
    return [part for part in re.split(r",(?![^(]*\))", text) if part.strip()]


def _requirement(part: str) -> _Requirement:
    if found := _SET.match(part):
        key, operator, values = found.groups()
        allowed = frozenset(value.strip() for value in values.split(","))
        if operator == "in":
            return lambda labels: labels.get(key) in allowed
        return lambda labels: labels.get(key) not in allowed
    if found := _EQUAL.match(part):
        return _comparison(*found.groups())
    if found := _EXISTS.match(part):
        negated, key = found.groups()
        return (lambda labels: key not in labels) if negated else (lambda labels: key in labels)
    words = part.split()
    if len(words) > 1:
        raise bad_request(f"unable to parse requirement: found '{words[1]}', expected: in, notin, =, ==, !=, gt, lt")
    raise bad_request(f"unable to parse requirement: found '{part.strip()}', expected: identifier")


def _comparison(key: str, operator: str, value: str) -> _Requirement:
    if operator == "!=":
        return lambda labels: labels.get(key) != value
    if operator in ("=", "=="):
        return lambda labels: labels.get(key) == value
    if not re.fullmatch(r"-?\d+", value):
        raise bad_request(
            f"unable to parse requirement: values[0][{key}]: Invalid value: \"{value}\": for 'Gt', 'Lt' operators, the value must be an integer"
        )

    def ordered(labels: Mapping[str, str]) -> bool:
        own = labels.get(key, "")
        return bool(re.fullmatch(r"-?\d+", own)) and (int(own) > int(value) if operator == ">" else int(own) < int(value))

    return ordered


def field_match(text: str, fields: Fields, *, builtin: bool) -> Match | None:
    """Parse a field selector (`metadata.name=x,status.phase!=Running`). Raises ApiError 400 for a field that cannot be selected by."""
    tests: list[Match] = []
    for part in _split(text):
        found = re.fullmatch(r"\s*([^=!]+?)\s*(==|=|!=)\s*(.*?)\s*", part)
        if not found:
            raise bad_request(f"invalid selector: '{part}'; can't understand '{part}'")
        name, operator, value = found.groups()
        tests.append(_field_test(_reader(name, fields, builtin=builtin), value.replace("\\,", ","), equal=operator != "!="))
    return (lambda obj: all(test(obj) for test in tests)) if tests else None


def _field_test(read: Callable[[Mapping[str, Any]], str], value: str, *, equal: bool) -> Match:
    return lambda obj: (read(obj) == value) is equal


def _reader(name: str, fields: Fields, *, builtin: bool) -> Callable[[Mapping[str, Any]], str]:
    if name in ("metadata.name", "metadata.namespace"):
        key = name.removeprefix("metadata.")
        return lambda obj: str(obj["metadata"].get(key, ""))
    if name in fields:
        return fields[name]
    if not builtin or fields:
        raise bad_request(f"field label not supported: {name}")
    raise bad_request(f'"{name}" is not a known field selector: only "metadata.name", "metadata.namespace"')


def both(first: Match | None, second: Match | None) -> Match | None:
    """The conjunction of two predicates."""
    if first is None or second is None:
        return first or second
    return lambda obj: first(obj) and second(obj)
