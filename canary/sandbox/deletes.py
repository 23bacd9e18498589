"""Delete: graceful, by finalizers, with preconditions and propagation policies, one object or a collection.

Only the first step of a deletion is here (marking, or removing at once); what follows from it (dependents, contents of a namespace, instances
of a CRD) is the janitor's, see `garbage`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from canary.sandbox import errors
from canary.sandbox.objects import Object
from canary.sandbox.resources import Resource
from canary.sandbox.schema_checks import Violation
from canary.sandbox.selectors import Match
from canary.sandbox.store import Record, Store
from canary.sandbox.writes import Clock, timestamp

FOREGROUND: Final = "foregroundDeletion"
ORPHAN: Final = "orphan"
CRD_CLEANUP: Final = "customresourcecleanup.apiextensions.k8s.io"


@dataclass(frozen=True, slots=True)
class DeleteOptions:
    """`propagation` is Background, Foreground, Orphan or "" (the kind's default); `grace` in seconds, None for the object's own."""

    propagation: str = ""
    grace: int | None = None
    uid: str | None = None
    resource_version: str | None = None
    dry_run: bool = False

    @classmethod
    def parse(cls, body: Any, query: Mapping[str, str]) -> "DeleteOptions":
        """From a DeleteOptions body and the query, the query winning. Raises ApiError 400 or 422."""
        body = body if isinstance(body, dict) else {}
        preconditions = body.get("preconditions") or {}
        propagation = query.get("propagationPolicy") or body.get("propagationPolicy") or ""
        if not propagation and body.get("orphanDependents") is True:
            propagation = "Orphan"
        grace = query.get("gracePeriodSeconds", body.get("gracePeriodSeconds"))
        if propagation not in ("", "Background", "Foreground", "Orphan"):
            text = f'Unsupported value: "{propagation}": supported values: "Foreground", "Background", "Orphan", "nil"'
            raise errors.invalid("meta.k8s.io", "DeleteOptions", "", [Violation("propagationPolicy", text)])
        try:
            seconds = None if grace is None else int(grace)
        except (TypeError, ValueError):
            raise errors.bad_request(f'strconv.ParseInt: parsing "{grace}": invalid syntax') from None
        return cls(
            propagation=propagation,
            grace=seconds,
            uid=preconditions.get("uid"),
            resource_version=preconditions.get("resourceVersion"),
            dry_run=query.get("dryRun") == "All" or body.get("dryRun") == ["All"],
        )


@dataclass(frozen=True, slots=True)
class Deleted:
    """The object as the deletion left it, and whether it is gone."""

    obj: Object
    gone: bool


class Deleter:
    """Deletes objects of any resource."""

    def __init__(self, store: Store, *, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    def delete(self, resource: Resource, *, namespace: str, name: str, options: DeleteOptions) -> Deleted:
        """Mark or remove one object. Raises ApiError 404 or 409."""
        record = resource.bucket.get(namespace, name)
        if record is None:
            raise errors.not_found(resource.group, resource.plural, name)
        self._check_preconditions(resource, record, options)
        return self._delete(resource, record, options)

    def delete_collection(self, resource: Resource, *, namespace: str | None, match: Match | None, options: DeleteOptions) -> list[Record]:
        """Delete everything that matches; answers the objects as they were before."""
        found = [record for record in resource.bucket.records(namespace) if match is None or match(record.obj)]
        for record in found:
            if resource.bucket.get(record.namespace, record.name) is record:
                self._delete(resource, record, options)
        return found

    def _check_preconditions(self, resource: Resource, record: Record, options: DeleteOptions) -> None:
        metadata = record.obj["metadata"]
        checks = (("UID", options.uid, metadata["uid"]), ("ResourceVersion", options.resource_version, metadata["resourceVersion"]))
        for what, wanted, found in checks:
            if wanted is not None and wanted != found:
                after = "deleted and then recreated" if what == "UID" else "modified"
                why = f"the {what} in the precondition ({wanted}) does not match the {what} in record ({found}). The object might have been {after}"
                raise errors.conflict("", resource.kind, record.name, why)

    def _delete(self, resource: Resource, record: Record, options: DeleteOptions) -> Deleted:
        old = record.obj
        metadata = dict(old["metadata"])
        finalizers = self._finalizers(resource, metadata, options)
        grace = self._grace(resource, old, options)
        namespace = resource.builtin and resource.kind == "Namespace"
        marked = bool(metadata.get("deletionTimestamp"))
        if (
            marked
            and finalizers == (metadata.get("finalizers") or [])
            and grace >= (metadata.get("deletionGracePeriodSeconds") or 0)
            and finalizers
        ):
            return Deleted(old, gone=False)
        if finalizers:
            metadata["finalizers"] = finalizers
        if not marked:
            metadata["deletionTimestamp"] = timestamp(self._clock())
            if "generation" in metadata and resource.plural != "customresourcedefinitions":
                metadata["generation"] += 1
        if not namespace:
            metadata["deletionGracePeriodSeconds"] = grace
        new = {**old, "metadata": metadata}
        if namespace:
            new["status"] = {**old.get("status", {}), "phase": "Terminating"}
        waits = bool(finalizers) or grace > 0 or (namespace and bool(old.get("spec", {}).get("finalizers")))
        if options.dry_run:
            return Deleted(new if waits else old, gone=not waits)
        if waits:
            return Deleted(old if new == old else self._store.put(resource.bucket, new).obj, gone=False)
        last = new if resource.kind == "Pod" and resource.builtin else old
        self._store.remove(resource.bucket, record)
        return Deleted(last, gone=True)

    def _finalizers(self, resource: Resource, metadata: Object, options: DeleteOptions) -> list[str]:
        finalizers = list(metadata.get("finalizers") or [])
        wanted = {"Foreground": FOREGROUND, "Orphan": ORPHAN}.get(options.propagation)
        if options.propagation:
            finalizers = [one for one in finalizers if one == wanted or one not in (FOREGROUND, ORPHAN)]
        if wanted and wanted not in finalizers:
            finalizers.append(wanted)
        if resource.builtin and resource.plural == "customresourcedefinitions" and CRD_CLEANUP not in finalizers:
            finalizers.append(CRD_CLEANUP)
        return finalizers

    def _grace(self, resource: Resource, obj: Object, options: DeleteOptions) -> int:
        """Seconds until a pod is gone; it is gone at once when no node runs it. Other kinds know no grace."""
        if not (resource.builtin and resource.kind == "Pod"):
            return 0
        spec, phase = obj["spec"], (obj.get("status") or {}).get("phase")
        if not spec.get("nodeName") or phase in ("Succeeded", "Failed"):
            return 0
        if options.grace is not None:
            return max(0, options.grace)
        before = obj["metadata"].get("deletionGracePeriodSeconds")
        return int(before if before is not None else spec.get("terminationGracePeriodSeconds", 30))
