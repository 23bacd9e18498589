"""The primary's own copies `<name>-primary` of tracked ConfigMaps and Secrets (reference 2.14).

What is copied is what was analysed: each source is compared with the checksum of the decision at the moment of copying, and a
source that has moved on is a Conflict, before the first write. Copies that are equal already cost no request, so a replay
after a crash is free. Upstream's unconditional update was rejected: it bumps every copy at every promotion, and it cannot
carry `immutable`, whose holder must be replaced instead of updated.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from canary.core.errors import Conflict, NotFound
from canary.core.release import Release
from canary.kube.cluster import Cluster
from canary.kube.resource import Object
from canary.targets.config_refs import ConfigKind, split_key
from canary.targets.config_tracker import ConfigTracker, Fingerprint, checksum
from canary.targets.objects import SUFFIX, edit, included, is_canary, labels_of, owned_head, unless_changed


@dataclass(frozen=True, slots=True)
class _Work:
    """One copy to be written: its source's content, and the copy as it is (metadata and fingerprint), if it exists."""

    kind: ConfigKind
    source: Object
    copy: Object | None
    known: Fingerprint | None

    @property
    def must_be_replaced(self) -> bool:
        """Whether the copy's content must change although the API server lets nobody change it."""
        if self.known is None:
            return False
        frozen = self.known.immutable and (self.known.checksum != checksum(self.source) or not self.source.get("immutable"))
        return frozen or self.known.type != self.source.get("type", "")


async def sync_copies(cluster: Cluster, release: Release, tracker: ConfigTracker, *, configs: Mapping[str, str]) -> None:
    """Make every copy equal to its source, which must still have the checksum in `configs` (key to checksum).

    Raises Conflict when a source has another content by now or is gone; nothing has been written then.
    """
    works = await asyncio.gather(*(_plan(cluster, release, tracker, key, wanted) for key, wanted in configs.items()))
    for work in works:
        if work is not None:
            await _write(cluster, release, tracker, work)


async def _plan(cluster: Cluster, release: Release, tracker: ConfigTracker, key: str, wanted: str) -> _Work | None:
    """What has to be written for one key; None when its copy is as it should be. Raises Conflict."""
    kind, name = split_key(key)
    namespace = release.namespace
    now = await tracker.fingerprint(cluster, namespace, key)
    if now is None or now.checksum != wanted:
        raise _moved(release, key)
    copy = cluster.get(kind.resource, namespace, name + SUFFIX)
    known = await tracker.fingerprint(cluster, namespace, key + SUFFIX) if copy else None
    if copy and known and (known.checksum, known.type, known.immutable) == (wanted, now.type, now.immutable):
        seen = cluster.get(kind.resource, namespace, name) or {}
        if labels_of(copy) == _labels(release, seen) and _owns(release, copy):
            return None
    try:
        source = await cluster.read(kind.resource, namespace, name)
    except NotFound as error:
        raise _moved(release, key) from error
    tracker.remember(namespace, kind, source)
    if checksum(source) != wanted:
        raise _moved(release, key)
    return _Work(kind, source, copy if known else None, known)


async def _write(cluster: Cluster, release: Release, tracker: ConfigTracker, work: _Work) -> None:
    kind, copy, namespace = work.kind, work.copy, release.namespace
    name = work.source["metadata"]["name"] + SUFFIX
    if copy is not None and work.must_be_replaced:
        # Pods that start between the two requests wait for their volume; a crash in between is mended by the replay.
        await cluster.delete(kind.resource, namespace, name, uid=copy["metadata"]["uid"])
        copy = None
    if copy is None:
        body = owned_head(release, kind.resource.head(namespace, name), labels=_labels(release, work.source))
        body["metadata"]["ownerReferences"] = _owners(release, work.copy or {})
        written = await cluster.create(kind.resource, {**body, **_content(work.source)})
    else:
        written = await cluster.json_patch(kind.resource, namespace, name, _ops(release, work.kind, copy, work.source))
    tracker.remember(namespace, kind, written)


def _content(source: Object) -> Object:
    return {field: source[field] for field in ("data", "binaryData", "immutable", "type") if source.get(field)}


def _ops(release: Release, kind: ConfigKind, copy: Object, source: Object) -> list[Object]:
    """Content is replaced whole: the copy's own is not known here (only its checksum), and an empty map is stored as none."""
    ops: list[Object] = [{"op": "add", "path": "/data", "value": source.get("data") or {}}]
    if kind is ConfigKind.CONFIG_MAP:
        ops.append({"op": "add", "path": "/binaryData", "value": source.get("binaryData") or {}})
    if source.get("immutable"):
        ops.append({"op": "add", "path": "/immutable", "value": True})
    ops += edit(copy, ("metadata", "labels"), _labels(release, source))
    if not _owns(release, copy):
        ops += edit(copy, ("metadata", "ownerReferences"), _owners(release, copy))
    return unless_changed(copy, ops)


def _labels(release: Release, source: Mapping[str, Any]) -> dict[str, str]:
    return included(labels_of(source), release.options.include_label_prefixes)


def _owns(release: Release, copy: Mapping[str, Any]) -> bool:
    refs = copy["metadata"].get("ownerReferences") or ()
    return any(ref.get("uid") == release.canary.metadata.uid for ref in refs)


def _owners(release: Release, copy: Mapping[str, Any]) -> list[Object]:
    """The Canary as controller, and whoever else owned a copy that is shared, no longer as controller.

    A reference to a Canary of this name but another uid is dropped: that object is gone, and the garbage collector would take
    the copy with it.
    """
    old = (copy.get("metadata") or {}).get("ownerReferences") or ()
    others = [{**ref, "controller": False} for ref in old if not (is_canary(ref) and ref.get("name") == release.name)]
    return [dict(release.owner_reference), *others]


def _moved(release: Release, key: str) -> Conflict:
    return Conflict(f"{key} in namespace {release.namespace} has changed since it was analysed")
