"""Structural schemas of custom resources: pruning, defaulting, validation. Usable on its own, without a server.

    schema = Schema(crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"])
    obj = schema.default(schema.prune(obj))
    for path, message in schema.validate(obj): ...

What is checked: types, required, enum, pattern, lengths and bounds, multipleOf, allOf/anyOf/oneOf/not, int-or-string, nullable, embedded
resources, uniqueness in lists of type set and map, and of the formats only `date-time`.
**Not evaluated: `x-kubernetes-validations` (CEL).** A manifest that only a CEL rule refuses is accepted here; tests of such rules belong
on a real API server. Other formats are ignored, as are immutability rules, which exist only as CEL.
"""

import functools
import json
from collections.abc import Mapping
from typing import Any

from canary.sandbox.schema_checks import Violation, validate
from canary.sandbox.schema_nodes import Compiler, Node
from canary.sandbox.schema_shape import TYPE_META, default, prune, unknown_fields

__all__ = ["Schema", "Violation", "compiled"]


class Schema:
    """One compiled `openAPIV3Schema` of a custom resource (its root has apiVersion, kind and metadata even when it does not say so).

    All methods leave their argument unchanged and share unchanged parts with it. `known` names an earlier result: top-level fields that
    are the very same object in it are taken as already done, which makes a status patch cost no more than its status.
    `compiler` resolves `$ref`s; CRDs have none.
    """

    def __init__(self, openapi: Mapping[str, Any] | None, *, compiler: Compiler | None = None) -> None:
        raw = openapi if openapi is not None else {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
        self.raw: Mapping[str, Any] = raw
        self.root: Node = (compiler or Compiler()).node(raw)
        self._metadata = self.root.props.pop("metadata", None)
        for key in TYPE_META:  # the server's own business, whatever the schema says of them
            self.root.props.pop(key, None)
        self.root.required = tuple(key for key in self.root.required if key not in TYPE_META)

    def prune(self, obj: dict[str, Any], *, known: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Without fields that the schema does not name."""
        return self._each(prune, obj, known)

    def default(self, obj: dict[str, Any], *, known: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """With the schema's defaults."""
        out = self._each(default, obj, known)
        missing = {key: default(self.root.props[key], preset) for key, preset in self.root.defaults.items() if key not in out}
        return {**out, **missing} if missing else out

    def validate(self, obj: Mapping[str, Any], *, known: Mapping[str, Any] | None = None) -> list[Violation]:
        """Every broken rule, as (path, message); empty when the object is good."""
        fields = {key: value for key, value in obj.items() if key not in TYPE_META}
        if known is not None:
            fields = {key: value for key, value in fields.items() if known.get(key) is not value}
        out = [Violation(key, "Required value") for key in self.root.required if key not in obj]
        props, additional = self.root.props, self.root.additional
        for key, value in fields.items():
            child = props.get(key) or additional
            if child is not None:
                validate(child, value, (None, key), out)
        if self.root.any_of or self.root.all_of or self.root.one_of or self.root.negated is not None:
            branches = Node(all_of=self.root.all_of, any_of=self.root.any_of, one_of=self.root.one_of, negated=self.root.negated)
            validate(branches, dict(obj), None, out)
        if self._metadata is not None and (known is None or known.get("metadata") is not obj.get("metadata")):
            validate(self._metadata, obj.get("metadata"), (None, "metadata"), out)
        return out

    def unknown(self, obj: Mapping[str, Any]) -> list[str]:
        """Paths that `prune` drops."""
        return unknown_fields(self.root, {key: value for key, value in obj.items() if key not in TYPE_META})

    def _each(self, walk: Any, obj: dict[str, Any], known: Mapping[str, Any] | None) -> dict[str, Any]:
        fields = {key: obj[key] for key in obj if key not in TYPE_META and (known is None or known.get(key) is not obj[key])}
        done = walk(Node(props=self.root.props, additional=self.root.additional, open=self.root.open), fields)
        if done is fields:
            return obj
        return {key: done.get(key, value) for key, value in obj.items() if key not in fields or key in done}


def compiled(openapi: Mapping[str, Any]) -> Schema:
    """The same, compiled once in a process: several servers in it serve the same CRDs, and ours take longer to compile than to store."""
    return _of(json.dumps(openapi))


@functools.lru_cache(maxsize=64)
def _of(text: str) -> Schema:
    return Schema(json.loads(text))
