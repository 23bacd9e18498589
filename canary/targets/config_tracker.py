"""Which ConfigMaps and Secrets the target uses, and whether their content has changed (reference 2.14).

ConfigMaps and Secrets are watched as metadata only, so that no content of any Secret in the cluster ever sits in our memory.
The content is read once per version of an object and only its checksum is remembered. Rejected: a checksum of the
resourceVersion, because a touched label would start a canary; and reading at every tick, which costs upstream most of its
requests.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from canary.core.errors import NotFound
from canary.kube.cluster import Cluster
from canary.kube.resource import Object
from canary.targets.config_refs import ConfigKind, mandatory, split_key
from canary.targets.objects import annotations_of

TRACKING_ANNOTATION = "flagger.app/config-tracking"
TRACKED_SECRET_TYPES = frozenset({"Opaque", "kubernetes.io/basic-auth", "kubernetes.io/ssh-auth", "kubernetes.io/tls"})
"""Secrets of other types (service account tokens, registry logins) are shared as they are."""

_GO_ESCAPES = str.maketrans({"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"})


def checksum(config: Mapping[str, Any]) -> str:
    """16 hex digits over the content of a ConfigMap or Secret, equal to upstream's where upstream sees all of it.

    Upstream hashes the JSON that Go makes of `data` and ignores `binaryData` (Q16); ours appends `binaryData` when there is any.
    """
    text = _go_json(config.get("data"))
    if config.get("binaryData"):
        text += _go_json(config["binaryData"])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _go_json(data: Mapping[str, str] | None) -> str:
    if not data:
        return "null"  # the API server stores no empty maps, so upstream always sees nil
    return json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False).translate(_GO_ESCAPES)


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What is remembered of one version of an object; never its content."""

    uid: str
    versions: frozenset[str]
    """The resourceVersions that this holds for: the one that was read, and the one the watch showed when it was read."""
    checksum: str
    type: str
    immutable: bool

    @property
    def tracked(self) -> bool:
        """False for Secrets of a type that is never copied; ConfigMaps have no type."""
        return not self.type or self.type in TRACKED_SECRET_TYPES

    def is_of(self, seen: Object) -> bool:
        """Whether it holds for an object as the cache shows it."""
        meta = seen["metadata"]
        return self.uid == meta["uid"] and meta["resourceVersion"] in self.versions


class MissingConfig(NotFound):
    """A ConfigMap or Secret that the target cannot start without does not exist."""

    reason = "ConfigMissing"


class ConfigTracker:
    """Remembers fingerprints; one instance serves all canaries, so that a shared Secret is read once."""

    def __init__(self) -> None:
        self._known: dict[tuple[ConfigKind, str, str], Fingerprint] = {}

    async def tracked(self, cluster: Cluster, namespace: str, template: Mapping[str, Any]) -> dict[str, str]:
        """Keys (`configmap/<n>`, `secret/<n>`) of the tracked references of a pod template, with the checksum of each.

        Left out: objects annotated `flagger.app/config-tracking: disable…`, Secrets of untracked types, optional ones that do not
        exist. Costs one GET for each object that is new or has changed.

        Raises MissingConfig for a mandatory object that does not exist, and what `cluster.read` raises.
        """
        needed = mandatory(template)
        found = await self._fingerprints(cluster, namespace, needed)
        sums = {}
        for key, required in needed.items():
            kind, name = split_key(key)
            print_ = found[key]
            if print_ is None:
                if required:
                    raise MissingConfig(
                        f"{kind} {name}.{namespace} get query error: it does not exist",
                        hint=f"create {kind.resource.kind} {namespace}/{name}, or mark its use in the pod template as optional",
                    )
            elif print_.tracked and not _disabled(cluster.get(kind.resource, namespace, name)):
                sums[key] = print_.checksum
        return sums

    async def fingerprint(self, cluster: Cluster, namespace: str, key: str) -> Fingerprint | None:
        """Fingerprint of `configmap/<n>` or `secret/<n>` as it is now; None when it does not exist.

        Of an object with tracking disabled the content is not read: its checksum is empty.
        """
        return (await self._fingerprints(cluster, namespace, (key,)))[key]

    async def _fingerprints(self, cluster: Cluster, namespace: str, keys: Iterable[str]) -> dict[str, Fingerprint | None]:
        """All at once; a task is made only for what must be read, for nearly always nothing must."""
        found: dict[str, Fingerprint | None] = {}
        unread: dict[str, str] = {}
        for key in keys:
            kind, name = split_key(key)
            seen = cluster.get(kind.resource, namespace, name)
            known = self._known.get((kind, namespace, name))
            if seen is None:
                self._known.pop((kind, namespace, name), None)
                found[key] = None
            elif known and known.is_of(seen):
                found[key] = known
            elif _disabled(seen):
                found[key] = Fingerprint(seen["metadata"]["uid"], frozenset(), checksum="", type="", immutable=False)
            else:
                unread[key] = seen["metadata"]["resourceVersion"]
        read = await asyncio.gather(*(self._read(cluster, namespace, key, version) for key, version in unread.items()))
        return {**found, **dict(zip(unread, read, strict=True))}

    async def _read(self, cluster: Cluster, namespace: str, key: str, version: str) -> Fingerprint | None:
        kind, name = split_key(key)
        try:
            config = await cluster.read(kind.resource, namespace, name)
        except NotFound:
            return None
        return self.remember(namespace, kind, config, also=version)

    def remember(self, namespace: str, kind: ConfigKind, config: Object, *, also: str = "") -> Fingerprint:
        """Take the fingerprint of an object just read or written, valid for its resourceVersion and for `also`."""
        meta = config["metadata"]
        print_ = Fingerprint(
            uid=meta["uid"],
            versions=frozenset({meta["resourceVersion"], also} - {""}),
            checksum=checksum(config),
            type=str(config.get("type", "")),
            immutable=bool(config.get("immutable")),
        )
        self._known[kind, namespace, meta["name"]] = print_
        return print_


def _disabled(obj: Object | None) -> bool:
    return annotations_of(obj or {}).get(TRACKING_ANNOTATION, "").startswith("disable")
