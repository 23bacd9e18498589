"""From decoded JSON or YAML to a model, with every mistake told at once.

One object at a time: a list in which one object is broken must not take the others with it, as it does upstream (Q23).
Each kind's module has its own `parse_…` on top of this.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from pydantic import ValidationError

from canary.api.common import Model, describe
from canary.api.errors import InvalidObject, Problem, problem_of

M = TypeVar("M", bound=Model)


def parse_object(model: type[M], obj: object, *api_versions: str) -> M:
    """The object as `model` (whose name is the kind), written in one of these API versions, the current one first.

    Raises InvalidObject with all problems: of the head, and of every field that has the wrong type or is missing.
    """
    kind = model.__name__
    if not isinstance(obj, Mapping):
        problem = Problem("(the whole document)", f"must be an object, not {describe(obj)}")
        raise InvalidObject(kind, "", "", [problem])
    problems = _head_problems(obj, kind, api_versions)
    try:
        parsed = _validated(model, obj)
    except ValidationError as error:
        details = error.errors(include_url=False)
        problems += [problem_of(detail) for detail in details if detail["loc"][0] not in ("apiVersion", "kind")]
    else:
        if not problems:
            return parsed
    raise InvalidObject(kind, _head(obj, "namespace"), _head(obj, "name"), problems)


def _validated(model: type[M], obj: Mapping[object, object]) -> M:
    """Null means absent, as the API server prunes it before it validates. Objects from a server hold none, so they pay nothing."""
    try:
        return model.model_validate(obj)
    except ValidationError as error:
        if all(detail["input"] is not None for detail in error.errors(include_url=False)):
            raise
    return model.model_validate(_without_nulls(obj))


def _without_nulls(value: object) -> object:
    if isinstance(value, Mapping):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value


def _head_problems(obj: Mapping[object, object], kind: str, api_versions: tuple[str, ...]) -> list[Problem]:
    """A wrong kind or version. Absent is fine: items of some lists carry neither."""
    problems = []
    if (version := obj.get("apiVersion", api_versions[0])) not in api_versions:
        problems.append(Problem("apiVersion", f"must be {api_versions[0]}, not {describe(version)}"))
    if (given := obj.get("kind", kind)) != kind:
        problems.append(Problem("kind", f"must be {kind}, not {describe(given)}"))
    return problems


def _head(obj: Mapping[object, object], key: str) -> str:
    metadata = obj.get("metadata")
    value = metadata.get(key, "") if isinstance(metadata, Mapping) else ""
    return value if isinstance(value, str) else ""
