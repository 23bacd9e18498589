"""A `Cluster` in a dict: enough of an API server for the plug-ins' tests.

It keeps the rules that a plug-in can break: resourceVersion, uid and generation; 409 for an existing name, a stale version or
a failed JSON-patch test; immutable ConfigMaps, Secret types and selectors; one controller only; metadata-only reads of
ConfigMaps and Secrets; a KeyError for what is not watched. `get` hands out the stored object itself and `assert_untouched`
says whether somebody has changed it. Server-side apply is simplified: one manager, lists are replaced whole.

`requests` lists every request as (verb, plural, name), `writes` those that are no GET.
"""

from __future__ import annotations

import copy
import json
import uuid
from collections.abc import Iterable, Mapping
from typing import Any

from canary.core.errors import CanaryError, Conflict, NotFound, Rejected
from canary.kube.resource import METADATA_ONLY, SECRETS, Object, Resource
from tests.fakes.json_patch import apply_patch, merge_patch

Key = tuple[Resource, str, str]


class FakeCluster:
    """See the module. `watched=True` for tests that do not care who watches what."""

    def __init__(self, *, watched: bool = False) -> None:
        self.requests: list[tuple[str, str, str]] = []
        self.watching: set[Resource] = set()
        self._watch_all = watched
        self._objects: dict[Key, Object] = {}
        self._cached: dict[Key, Object | None] = {}
        self._applied: dict[Key, Object] = {}
        self._seen: dict[Key, str] = {}
        self._failures: list[tuple[str, str, CanaryError]] = []
        self._version = 100

    # ------------------------------------------------------------------------------------------- for the test

    @property
    def writes(self) -> list[tuple[str, str, str]]:
        """Every request that is no GET, in order."""
        return [request for request in self.requests if request[0] != "read"]

    def add(self, resource: Resource, body: Object) -> Object:
        """Put an object there without a request, as somebody else would; replaces one of the same name."""
        obj = copy.deepcopy(body)
        key = self._key(resource, obj)
        obj.setdefault("apiVersion", resource.api_version)
        obj.setdefault("kind", resource.kind)
        return self._store(key, obj)

    def change(self, resource: Resource, namespace: str, name: str, patch: Object) -> Object:
        """Merge-patch an object without a request, as somebody else would."""
        key = (resource, namespace, name)
        return self._store(key, merge_patch(copy.deepcopy(self._objects[key]), copy.deepcopy(patch)))

    def remove(self, resource: Resource, namespace: str, name: str) -> None:
        """Delete an object without a request."""
        for store in (self._objects, self._seen, self._applied):
            store.pop((resource, namespace, name), None)

    def lag(self, resource: Resource, namespace: str, name: str) -> None:
        """From now on the cache shows this object (or its absence) as it is now: the watch is late."""
        key = (resource, namespace, name)
        self._cached[key] = copy.deepcopy(self._objects.get(key))

    def catch_up(self) -> None:
        """The watch is up to date again."""
        self._cached.clear()

    def fail(self, verb: str, resource: Resource, error: CanaryError) -> None:
        """The next request of this verb and resource fails."""
        self._failures.append((verb, resource.plural, error))

    def stored(self, resource: Resource, namespace: str, name: str) -> Object:
        """A copy of the whole object as the API server has it. Raises KeyError."""
        return copy.deepcopy(self._objects[resource, namespace, name])

    def names(self, resource: Resource) -> list[str]:
        """Names of all objects of a kind, sorted."""
        return sorted(name for kind, _, name in self._objects if kind == resource)

    def assert_untouched(self) -> None:
        """Nobody has changed an object that `get` or `list` has handed out."""
        for key, text in self._seen.items():
            assert json.dumps(self._objects[key], sort_keys=True) == text, f"cached {key[0].kind} {key[2]} was changed in place"

    # ---------------------------------------------------------------------------------------- the protocol

    async def watch(self, *resources: Resource) -> None:
        self.watching.update(resources)

    def get(self, resource: Resource, namespace: str, name: str) -> Object | None:
        if not self._watch_all and resource not in self.watching:
            raise KeyError(f"{resource.plural} are not watched")
        key = (resource, namespace, name)
        obj = self._cached[key] if key in self._cached else self._objects.get(key)
        return _visible(resource, obj) if obj is not None else None

    def list(self, resource: Resource, namespace: str | None = None) -> Iterable[Object]:
        keys = [key for key in self._objects if key[0] == resource and namespace in (None, key[1])]
        return [obj for key in keys if (obj := self.get(*key)) is not None]

    async def read(self, resource: Resource, namespace: str, name: str, *, params: Mapping[str, str] | None = None) -> Object:
        self._request("read", resource, name)
        return copy.deepcopy(self._existing(resource, namespace, name))

    async def create(self, resource: Resource, body: Object) -> Object:
        key = self._key(resource, body)
        self._request("create", resource, key[2])
        if key in self._objects:
            raise Conflict(f"{resource.plural} {key[2]!r} already exists")
        return copy.deepcopy(self._store(key, copy.deepcopy(body)))

    async def apply(self, resource: Resource, body: Object, *, force: bool = True) -> Object:
        key = self._key(resource, body)
        self._request("apply", resource, key[2])
        old = self._objects.get(key)
        if old is None:
            result = self._store(key, copy.deepcopy(body))
        else:
            rest = _without(copy.deepcopy(old), self._applied.get(key, {}), body)
            result = self._store(key, merge_patch(rest, copy.deepcopy(body)))
        self._applied[key] = copy.deepcopy(body)
        return copy.deepcopy(result)

    async def merge(self, resource: Resource, namespace: str, name: str, patch: Object, *, subresource: str = "") -> Object:
        self._request("merge", resource, name)
        old = self._existing(resource, namespace, name)
        wanted = (patch.get("metadata") or {}).get("resourceVersion")
        if wanted is not None and wanted != old["metadata"]["resourceVersion"]:
            raise Conflict(f"{resource.plural} {name!r} has been modified")
        part = {"status": patch.get("status")} if subresource == "status" else patch
        return copy.deepcopy(self._store((resource, namespace, name), merge_patch(copy.deepcopy(old), copy.deepcopy(part))))

    async def json_patch(self, resource: Resource, namespace: str, name: str, ops: list[Object]) -> Object:
        self._request("json_patch", resource, name)
        new = copy.deepcopy(self._existing(resource, namespace, name))
        apply_patch(new, copy.deepcopy(ops))
        return copy.deepcopy(self._store((resource, namespace, name), new))

    async def delete(self, resource: Resource, namespace: str, name: str, *, uid: str = "") -> None:
        self._request("delete", resource, name)
        old = self._objects.get((resource, namespace, name))
        if old is not None and uid and uid != old["metadata"]["uid"]:
            raise Conflict(f"{resource.plural} {name!r} has another uid")
        self.remove(resource, namespace, name)

    # --------------------------------------------------------------------------------------------- inside

    def _request(self, verb: str, resource: Resource, name: str) -> None:
        self.requests.append((verb, resource.plural, name))
        for failure in self._failures:
            if failure[:2] == (verb, resource.plural):
                self._failures.remove(failure)
                raise failure[2]

    def _existing(self, resource: Resource, namespace: str, name: str) -> Object:
        try:
            return self._objects[resource, namespace, name]
        except KeyError:
            raise NotFound(f"{resource.plural} {name!r} not found") from None

    @staticmethod
    def _key(resource: Resource, body: Object) -> Key:
        return resource, body["metadata"].get("namespace", ""), body["metadata"]["name"]

    def _store(self, key: Key, obj: Object) -> Object:
        old = self._objects.get(key)
        for field in ("data", "binaryData"):
            if obj.get(field) == {}:
                del obj[field]
        for field in ("labels", "annotations"):
            if obj["metadata"].get(field) == {}:
                del obj["metadata"][field]
        _validate(key[0], old, obj)
        if old is not None and _content(old) == _content(obj):
            return old
        self._version += 1
        meta = obj["metadata"]
        before = old["metadata"] if old else {"generation": 0, "uid": meta.get("uid") or str(uuid.uuid4())}
        meta["uid"], meta["resourceVersion"] = before["uid"], str(self._version)
        moved = old is None or old.get("spec") != obj.get("spec")
        meta["generation"] = before["generation"] + (1 if moved else 0)
        self._objects[key] = obj
        self._seen[key] = json.dumps(obj, sort_keys=True)
        return obj


def _visible(resource: Resource, obj: Object) -> Object:
    if resource in METADATA_ONLY:
        return {"apiVersion": obj["apiVersion"], "kind": obj["kind"], "metadata": obj["metadata"]}
    return obj


def _content(obj: Object) -> Object:
    moving = {"resourceVersion", "generation", "uid"}
    return {**obj, "metadata": {key: value for key, value in obj["metadata"].items() if key not in moving}}


def _validate(resource: Resource, old: Object | None, new: Object) -> None:
    """The refusals of the API server that plug-ins can run into."""
    name = new["metadata"]["name"]
    if sum(1 for ref in new["metadata"].get("ownerReferences") or () if ref.get("controller")) > 1:
        raise Rejected(f"{resource.kind} {name!r} is invalid: only one reference can have controller set to true")
    if old is None:
        return
    if resource in METADATA_ONLY and old.get("immutable"):
        for field in ("data", "binaryData", "immutable"):
            if old.get(field) != new.get(field):
                raise Rejected(f"{resource.kind} {name!r} is invalid: {field}: field is immutable when `immutable` is set")
    if resource is SECRETS and old.get("type") != new.get("type"):
        raise Rejected(f"Secret {name!r} is invalid: type: field is immutable")
    if resource.group == "apps" and _selector(old) != _selector(new):
        raise Rejected(f"{resource.kind} {name!r} is invalid: spec.selector: field is immutable")


def _selector(obj: Object) -> Any:
    return (obj.get("spec") or {}).get("selector")


def _without(obj: Object, before: Object, now: Object) -> Object:
    """`obj` without what we applied before and do not apply any more."""
    for key, value in before.items():
        if key not in now:
            obj.pop(key, None)
        elif isinstance(value, dict) and isinstance(now[key], dict) and isinstance(obj.get(key), dict):
            _without(obj[key], value, now[key])
    return obj
