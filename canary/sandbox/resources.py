"""What the sandbox serves: one `Resource` per kind and version, and the registry that finds it by its path.

Resources are plain data, so that built-in kinds (a table) and custom ones (made from CRDs at run time) go through the same code everywhere.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from canary.sandbox.schema import Schema
from canary.sandbox.schema_nodes import Node
from canary.sandbox.selectors import Fields
from canary.sandbox.store import Bucket, Object, encode

ALL_VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")


@dataclass(frozen=True, slots=True)
class ScalePaths:
    """Where the `scale` subresource reads and writes, as dotted paths without leading dot; `selector` may be empty."""

    spec: tuple[str, ...] = ("spec", "replicas")
    status: tuple[str, ...] = ("status", "replicas")
    selector: tuple[str, ...] = ("spec", "selector")


@dataclass(frozen=True, slots=True)
class Column:
    """A printer column of a CRD (`path` is its JSONPath) or of a built-in kind."""

    name: str
    type: str
    path: str
    priority: int = 0
    format: str = ""
    description: str = ""


@dataclass(slots=True, eq=False)
class Resource:
    """One kind in one version. `bucket` is shared by all versions of a kind.

    `typed` is the schema of the whole object, metadata included: what patches and ownership walk. `renames` maps stored field names to those
    of this version (only events.k8s.io has any). `storage` is the schema of the stored version where that is another one.
    `prefix` is the encoded beginning of an object: `{"kind":…,"apiVersion":…,`.
    """

    group: str
    version: str
    plural: str
    kind: str
    bucket: Bucket
    schema: Schema
    metadata: Node
    namespaced: bool = True
    singular: str = ""
    list_kind: str = ""
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    verbs: tuple[str, ...] = ALL_VERBS
    builtin: bool = False
    status: bool = False
    scale: ScalePaths | None = None
    counts_generations: bool = False
    needs_version: bool = True
    creates_on_update: bool = False
    returns_deleted: bool = False
    virtual: bool = False
    columns: tuple[Column, ...] = ()
    fields: Fields = field(default_factory=dict)
    renames: Mapping[str, str] = field(default_factory=dict)
    storage: Schema | None = None
    api_version: str = ""
    typed: Node = field(init=False)
    prefix: bytes = field(init=False)

    def __post_init__(self) -> None:
        root = self.schema.root
        self.typed = replace(root, props={**root.props, "metadata": self.metadata})
        self.api_version = f"{self.group}/{self.version}" if self.group else self.version
        self.prefix = encode({"kind": self.kind, "apiVersion": self.api_version})[:-1] + b","
        self.singular = self.singular or self.kind.lower()
        self.list_kind = self.list_kind or f"{self.kind}List"

    def present(self, obj: Object) -> Object:
        """A stored object as this version shows it: with apiVersion and kind. Shares everything with the stored one."""
        if self.renames:
            obj = {self.renames.get(key, key): value for key, value in obj.items() if value != ""}
        return {"kind": self.kind, "apiVersion": self.api_version, **obj}

    def stored(self, obj: Object) -> Object:
        """The reverse of `present`."""
        back = {shown: name for name, shown in self.renames.items()}
        return {back.get(key, key): value for key, value in obj.items() if key not in ("kind", "apiVersion")}

    def subresources(self) -> list[str]:
        """Names of the subresources, sorted."""
        return sorted(([] if self.scale is None else ["scale"]) + (["status"] if self.status else []))


class Registry:
    """Finds resources by group, version and plural; knows the order of versions within a group (first = preferred)."""

    def __init__(self) -> None:
        self._resources: dict[tuple[str, str, str], Resource] = {}

    def add(self, resource: Resource) -> None:
        """Serve a resource; replaces one of the same path."""
        self._resources[resource.group, resource.version, resource.plural] = resource

    def remove_kind(self, group: str, plural: str) -> None:
        """Stop serving every version of a kind."""
        for key in [key for key in self._resources if key[0] == group and key[2] == plural]:
            del self._resources[key]

    def find(self, group: str, version: str, plural: str) -> Resource | None:
        """The resource behind `/apis/<group>/<version>/<plural>`."""
        return self._resources.get((group, version, plural))

    def of_kind(self, group: str, plural: str) -> Resource | None:
        """Any version of a kind; for what does not depend on the version."""
        return next((one for one in self._resources.values() if one.group == group and one.plural == plural), None)

    def by_kind(self, api_version: str, kind: str) -> Resource | None:
        """The resource that an owner reference names."""
        return next((one for one in self._resources.values() if one.api_version == api_version and one.kind == kind), None)

    def groups(self) -> dict[str, list[str]]:
        """Group -> its versions, preferred first; the core group is ""."""
        out: dict[str, set[str]] = {}
        for group, version, _ in self._resources:
            out.setdefault(group, set()).add(version)
        return {group: sorted(versions, key=_version_rank) for group, versions in sorted(out.items())}

    def in_version(self, group: str, version: str) -> list[Resource]:
        """All resources of one group and version, sorted by plural."""
        return sorted((one for one in self._resources.values() if (one.group, one.version) == (group, version)), key=lambda one: one.plural)

    def all(self) -> Iterable[Resource]:
        """Every resource."""
        return list(self._resources.values())


def _version_rank(version: str) -> tuple[Any, ...]:
    """Kubernetes' order of versions: v2 before v1 before v1beta2 before v1alpha1 before anything else."""
    digits = "".join(char if char.isdigit() else " " for char in version).split()
    stage = 1 if "beta" in version else 2 if "alpha" in version else 0
    if not version.startswith("v") or not digits:
        return (3, 0, 0, version)
    return (stage, -int(digits[0]), -int(digits[1]) if len(digits) > 1 else 0, version)
