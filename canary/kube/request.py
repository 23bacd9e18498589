"""One request as a value: what is sent, and how people read about it.

Built apart from the sending, so that the only place that turns users' names into URLs is small enough to be sure of.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from canary.core.errors import Rejected
from canary.kube.resource import Resource

JSON = "application/json"
METHODS = {"create": "POST", "apply": "PATCH", "patch": "PATCH", "delete": "DELETE"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """`verb` is ours (get, list, watch, create, apply, patch, delete); `method` is HTTP's."""

    verb: str
    method: str
    resource: Resource | None
    path: str
    place: str = ""
    """Namespace and name, for messages."""
    label: str = ""
    """Resource (and subresource) for counting."""
    params: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    conditional: bool = False

    @property
    def what(self) -> str:
        """In words, beginning with the verb."""
        return f"{self.verb} {self.label} {self.place}".rstrip()


def build(
    verb: str,
    resource: Resource,
    namespace: str | None = None,
    name: str = "",
    *,
    subresource: str = "",
    place: str = "",
    params: Mapping[str, str] | None = None,
    body: Any = None,
    content: str = JSON,
    headers: Mapping[str, str] | None = None,
    conditional: bool = False,
) -> Request:
    """The request for one verb on one resource. Raises Rejected for a name that could not be an object's."""
    for segment in (namespace, name):
        _check_segment(segment, resource)
    return Request(
        verb=verb,
        method=METHODS.get(verb, "GET"),
        resource=resource,
        path=resource.path(namespace, name or None, subresource or None),
        place=place or place_of(namespace if resource.namespaced else None, name),
        label=f"{resource.title}/{subresource}" if subresource else resource.title,
        params=params or {},
        body=None if body is None else json.dumps(body, separators=(",", ":")).encode(),
        headers={**({"Content-Type": content} if body is not None else {}), **(headers or {})},
        conditional=conditional,
    )


def _check_segment(segment: str | None, resource: Resource) -> None:
    """Names come from users' manifests: one with a slash would aim our credentials at another object."""
    if segment and (segment in {".", ".."} or any(char in segment for char in "/%?#")):
        raise Rejected(f"{segment!r} cannot be the name of a {resource.kind} or a namespace", hint="use the object's plain name")


def place_of(namespace: str | None, name: str) -> str:
    """`namespace/name`, or which namespace, or nothing."""
    if name:
        return f"{namespace}/{name}" if namespace else name
    return f"in namespace {namespace}" if namespace else ""
