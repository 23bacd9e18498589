"""Which resources there are: the discovery documents, in the old form (one per version) and the aggregated one.

Both, because kopf and the official client read the old one and kubectl prefers the aggregated one.
"""

from typing import Any, Final

from canary.sandbox.resources import Registry, Resource
from canary.sandbox.store import Object

VERSION: Final[Object] = {
    "major": "1",
    "minor": "36",
    "gitVersion": "v1.36.3",
    "gitCommit": "sandbox",
    "gitTreeState": "clean",
    "buildDate": "1970-01-01T00:00:00Z",
    "goVersion": "none",
    "compiler": "none",
    "platform": "sandbox/any",
}
_SUBRESOURCE_VERBS: Final = ["get", "patch", "update"]


def core_versions(address: str) -> Object:
    """`/api`."""
    return {
        "kind": "APIVersions",
        "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}],
    }


def group_list(registry: Registry) -> Object:
    """`/apis`."""
    groups = [_group(name, versions) for name, versions in registry.groups().items() if name]
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}


def group(registry: Registry, name: str) -> Object | None:
    """`/apis/<group>`; None for an unknown group."""
    versions = registry.groups().get(name)
    return None if not name or versions is None else {"kind": "APIGroup", "apiVersion": "v1", **_group(name, versions)}


def _group(name: str, versions: list[str]) -> Object:
    served = [{"groupVersion": f"{name}/{version}", "version": version} for version in versions]
    return {"name": name, "versions": served, "preferredVersion": served[0]}


def resource_list(registry: Registry, name: str, version: str) -> Object | None:
    """`/api/v1` and `/apis/<group>/<version>`; None for an unknown version."""
    found = registry.in_version(name, version)
    if not found:
        return None
    entries = [entry for resource in found for entry in _entries(resource)]
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": f"{name}/{version}" if name else version, "resources": entries}


def _entries(resource: Resource) -> list[Object]:
    main: Object = {
        "name": resource.plural, "singularName": resource.singular, "namespaced": resource.namespaced, "kind": resource.kind,
        "verbs": list(resource.verbs),
    }  # fmt: skip
    if resource.short_names:
        main["shortNames"] = list(resource.short_names)
    if resource.categories:
        main["categories"] = list(resource.categories)
    out = [main]
    for name in resource.subresources():
        entry: Object = {
            "name": f"{resource.plural}/{name}", "singularName": "", "namespaced": resource.namespaced,
            "kind": "Scale" if name == "scale" else resource.kind, "verbs": _SUBRESOURCE_VERBS,
        }  # fmt: skip
        if name == "scale":
            entry |= {"group": "autoscaling", "version": "v1"}
        out.append(entry)
    return out


def aggregated(registry: Registry, *, core: bool) -> Object:
    """`/api` or `/apis` as `APIGroupDiscoveryList` of apidiscovery.k8s.io/v2."""
    items: list[Object] = []
    for name, versions in registry.groups().items():
        if bool(name) is core:
            continue
        served = [
            {"version": version, "resources": [_aggregated(one) for one in registry.in_version(name, version)], "freshness": "Current"}
            for version in versions
        ]
        items.append({"metadata": {"name": name} if name else {}, "versions": served})
    return {"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items}


def _aggregated(resource: Resource) -> Object:
    out: dict[str, Any] = {
        "resource": resource.plural,
        "responseKind": {"group": resource.group, "version": resource.version, "kind": resource.kind},
        "scope": "Namespaced" if resource.namespaced else "Cluster",
        "singularResource": resource.singular,
        "verbs": list(resource.verbs),
    }
    if resource.short_names:
        out["shortNames"] = list(resource.short_names)
    if resource.categories:
        out["categories"] = list(resource.categories)
    subresources: list[Object] = []
    for name in resource.subresources():
        kind = ("autoscaling", "v1", "Scale") if name == "scale" else (resource.group, resource.version, resource.kind)
        subresources.append(
            {"subresource": name, "responseKind": dict(zip(("group", "version", "kind"), kind, strict=True)), "verbs": _SUBRESOURCE_VERBS}
        )
    if subresources:
        out["subresources"] = subresources
    return out
