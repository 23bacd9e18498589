"""The one mechanism that makes an object look as wanted.

Nothing is sent when it already does. Otherwise server-side apply, and only if something foreign is still there at a path
that must be ours entirely (a list item or field of another manager: apply merges, it does not replace) one conditional JSON
patch of that path. Rejected: replacing whole objects (loses users' fields), and `kubectl`-style three-way merges (need an
annotation with a second copy of everything).
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

from canary.core.errors import Conflict, Forbidden, NotFound, Rejected, Retryable
from canary.kube.cluster import FIELD_MANAGER, Cluster, Ops
from canary.kube.compare import MISSING, Difference, ServerMade, Wanted, differences, differs, exact_path, unexplained, value_at
from canary.kube.resource import METADATA_ONLY, Object, Resource

__all__ = ["SERVER_MADE", "differs", "ensure"]

log = logging.getLogger(__name__)

SERVER_MADE = ServerMade()
"""What this process has learned about API servers."""


@dataclass(frozen=True, slots=True)
class _Want:
    """A `Wanted` with its body adjusted to what exists."""

    resource: Resource
    body: Object
    exact: tuple[tuple[str, ...], ...]
    adopt: bool


async def ensure(cluster: Cluster, wanted: Wanted, *, learned: ServerMade = SERVER_MADE) -> bool:
    """Make the object look as wanted; True when that changed anything. The kind must be watched.

    An object that exists without our owner reference is adopted: ours is not added, so that deleting the Canary does not
    take a user's object along (reference 3.1). With `adopt=False` that is Rejected instead. Raises Retryable while the object
    is being deleted, Conflict when somebody wrote in between, and whatever the API server refuses.
    """
    live = await _live(cluster, wanted)
    if live is None:
        return await _create(cluster, wanted, learned)
    if live["metadata"].get("deletionTimestamp"):
        raise Retryable(f"{_title(wanted)} is being deleted: waiting until it is gone")
    want = _adopted(wanted, live)
    if not unexplained(want, live, learned):
        return False
    answer = await _apply(cluster, want, live, learned)
    answer = await _settle(cluster, want, answer, learned)
    return bool(answer["metadata"].get("resourceVersion") != live["metadata"].get("resourceVersion"))


async def _live(cluster: Cluster, wanted: Wanted) -> Object | None:
    """The cached object, with its content fetched if the cache has only metadata and content is wanted."""
    meta = wanted.body["metadata"]
    namespace, name = meta.get("namespace", ""), meta["name"]
    live = cluster.get(wanted.resource, namespace, name)
    if live is None or wanted.resource not in METADATA_ONLY:
        return live
    if wanted.body.keys() <= live.keys():
        return live
    try:
        return await cluster.read(wanted.resource, namespace, name)
    except NotFound:
        return None


async def _create(cluster: Cluster, wanted: Wanted, learned: ServerMade) -> bool:
    answer = await cluster.apply(wanted.resource, wanted.body)
    managers = {entry.get("manager") for entry in answer["metadata"].get("managedFields") or ()}
    if managers <= {FIELD_MANAGER}:
        learned.learn(wanted.resource, list(differences(wanted, answer)))  # all of it is ours or the server's
        return True
    # It was there already and the cache did not know yet. Our owner reference would hand a user's object to the garbage
    # collector, so it is taken back before anything else.
    stranger = {**answer, "metadata": {key: value for key, value in answer["metadata"].items() if key != "ownerReferences"}}
    want = _adopted(wanted, stranger, refuse=False)
    answer = await cluster.apply(want.resource, want.body)
    _adopted(wanted, stranger)
    await _settle(cluster, want, answer, learned)
    return True


async def _apply(cluster: Cluster, want: Wanted, live: Object, learned: ServerMade) -> Object:
    """Server-side apply. It merges lists before it validates: a foreign Service port with our port's name, say, makes the
    sum invalid although ours alone would not be, and a node port twice even is an internal error (500). Then the exact paths are
    replaced first.
    """
    try:
        return await cluster.apply(want.resource, want.body)
    except (Rejected, Retryable) as error:
        ops = _replacements(want, unexplained(want, live, learned), live)
        if isinstance(error, NotFound | Forbidden | Conflict) or not ops:
            raise
    meta = want.body["metadata"]
    await cluster.json_patch(want.resource, meta.get("namespace", ""), meta["name"], ops)
    return await cluster.apply(want.resource, want.body)


def _replacements(want: Wanted, left: list[Difference], base: Object) -> Ops:
    """A JSON patch, valid only for `base`, that replaces every exact path at which something differs. Empty when none does."""
    roots = sorted({root for one in left if (root := exact_path(want, one.path)) is not None})
    if not roots:
        return []
    ops: Ops = [{"op": "test", "path": "/metadata/resourceVersion", "value": base["metadata"]["resourceVersion"]}]
    # `add` replaces what is there, and also works when the server dropped an empty value
    return [*ops, *({"op": "add", "path": _pointer(root), "value": value_at(want.body, root)} for root in roots)]


async def _settle(cluster: Cluster, want: Wanted, answer: Object, learned: ServerMade) -> Object:
    """After an apply: replace exact paths that are still not ours; what remains after that is the server's doing."""
    left = unexplained(want, answer, learned)
    if ops := _replacements(want, left, answer):
        meta = want.body["metadata"]
        answer = await cluster.json_patch(want.resource, meta.get("namespace", ""), meta["name"], ops)
        left = unexplained(want, answer, learned)
    _note(want, left)
    learned.learn(want.resource, left)
    return answer


def _note(want: Wanted, left: list[Difference]) -> None:
    """A value that the server did not take over is worth a line: usually a normal form, but perhaps an admission webhook."""
    for one in left:
        if one.ours is not MISSING:
            log.warning(
                "%s: the API server keeps %s at %r although %r was applied", _title(want), ".".join(map(str, one.path)), one.live, one.ours
            )


def _adopted(wanted: Wanted, live: Object, *, refuse: bool = True) -> _Want:
    """The body for an object that exists: without our owner reference if it does not have it already."""
    meta = wanted.body["metadata"]
    ours = {owner["uid"] for owner in meta.get("ownerReferences") or ()}
    theirs = {owner["uid"] for owner in live["metadata"].get("ownerReferences") or ()}
    if not ours or ours & theirs:
        return _Want(wanted.resource, wanted.body, wanted.exact, wanted.adopt)
    if refuse and not wanted.adopt:
        raise Rejected(f"{_title(wanted)} exists already and is not ours", hint="delete or rename it, or give the Canary another name")
    body = {**wanted.body, "metadata": {key: value for key, value in meta.items() if key != "ownerReferences"}}
    return _Want(wanted.resource, body, wanted.exact, wanted.adopt)


def _pointer(path: tuple[str, ...]) -> str:
    return "".join("/" + key.replace("~", "~0").replace("/", "~1") for key in path)


def _title(wanted: Wanted) -> str:
    meta = wanted.body["metadata"]
    place = f"{meta['namespace']}/{meta['name']}" if meta.get("namespace") else meta["name"]
    return f"{wanted.resource.kind} {place}"
