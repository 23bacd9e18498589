"""Create, update, patch and apply: the order in which an object goes from a request into the store.

One synchronous pipeline for HTTP clients and for code inside the process, since two ways in would sooner or later obey two sets of rules.
Everything happens between two awaits of the loop, therefore the read and the write of one request cannot be interleaved with another's.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from canary.sandbox import errors, objects
from canary.sandbox.allocation import Allocator, carry_allocated
from canary.sandbox.names import generated
from canary.sandbox.objects import Object
from canary.sandbox.ownership import BEFORE_FIRST_APPLY, Author, after_apply, after_update, chosen_entries
from canary.sandbox.patch import PatchError, json_patch, merge_patch
from canary.sandbox.resources import Resource
from canary.sandbox.schema_checks import Violation
from canary.sandbox.schema_shape import settle, unknown_fields
from canary.sandbox.store import Record, Store
from canary.sandbox.strategic import MergeKeyMissingError, strategic_merge

Clock = Callable[[], datetime]
JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"


@dataclass(frozen=True, slots=True)
class WriteOptions:
    """The options of one write. `validation` is Strict, Warn or Ignore; `force` is meant for apply only."""

    manager: str = "sandbox"
    dry_run: bool = False
    validation: str = "Warn"
    force: bool = False


@dataclass(slots=True)
class Written:
    """What a write left behind: the object as stored, whether it is new, and the warnings for the client."""

    record: Record
    created: bool = False
    warnings: list[str] = field(default_factory=list)


def timestamp(now: datetime) -> str:
    """RFC 3339 in UTC with whole seconds."""
    return now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Writer:
    """Writes objects of any resource. `clock` gives the time of stamps."""

    def __init__(self, store: Store, *, namespaces: Callable[[], Any], clock: Clock, allocator: Allocator) -> None:
        self._store = store
        self._namespaces = namespaces
        self._clock = clock
        self._allocator = allocator

    def create(self, resource: Resource, body: Any, *, namespace: str, options: WriteOptions) -> Written:
        """Store a new object. Raises ApiError 400, 403, 404, 409 or 422."""
        objects.check_type(resource, body)
        objects.check_address(body, namespace=namespace, name=None)
        body = resource.stored(body)
        warnings = objects.report_unknown(resource, body, validation=options.validation)
        if (body.get("metadata") or {}).get("resourceVersion"):
            raise errors.ApiError(500, "", "resourceVersion should not be set on objects to be created")
        obj = self._named(resource, {**body, "metadata": body.get("metadata") or {}}, namespace)
        return self._create(resource, obj, options=options, warnings=warnings, entries=None)

    def _named(self, resource: Resource, obj: Object, namespace: str) -> Object:
        metadata = {key: value for key, value in obj["metadata"].items() if key not in objects.SERVER_FIELDS or key == "generation"}
        if not metadata.get("name") and metadata.get("generateName"):
            metadata["name"] = generated(str(metadata["generateName"]))
        if resource.namespaced:
            metadata["namespace"] = namespace
        else:
            metadata.pop("namespace", None)
        metadata["uid"] = str(uuid4())
        metadata["creationTimestamp"] = timestamp(self._clock())
        if resource.counts_generations:
            metadata["generation"] = 1
        return {"metadata": metadata, **{key: value for key, value in obj.items() if key != "metadata"}}

    def _create(
        self, resource: Resource, obj: Object, *, options: WriteOptions, warnings: list[str], entries: list[Any] | None,
    ) -> Written:  # fmt: skip
        namespace, name = obj["metadata"].get("namespace", ""), obj["metadata"].get("name") or ""
        sent = objects.shape(resource, obj, None)
        shaped = objects.initial_status(resource, sent)
        self._check_namespace(resource, namespace, name)
        objects.refuse_invalid(resource, shaped, None)
        if resource.bucket.get(namespace, name) is not None:
            raise errors.already_exists(resource.group, resource.plural, name)
        if entries is None:
            given = chosen_entries([], obj["metadata"].get("managedFields"), subresource=False)
            author = self._author(resource, options, "")
            entries = after_update(
                resource.typed, blank(resource), _unowned(sent), entries=given, author=author, reset=_reset(resource, "")
            )
        shaped = _with_entries(shaped, entries)
        if resource.builtin and resource.kind == "Service":
            shaped = self._allocator.assign(shaped)
        if options.dry_run:
            return Written(Record(namespace, name, 0, shaped), created=True, warnings=warnings)
        return Written(self._store.put(resource.bucket, shaped), created=True, warnings=warnings)

    def _check_namespace(self, resource: Resource, namespace: str, name: str) -> None:
        if not resource.namespaced:
            return
        record = self._namespaces().get("", namespace)
        if record is None:
            raise errors.not_found("", "namespaces", namespace)
        if record.obj["metadata"].get("deletionTimestamp"):
            why = f"unable to create new content in namespace {namespace} because it is being terminated"
            error = errors.forbidden(resource.group, resource.plural, name, why)
            cause = {
                "reason": "NamespaceTerminating",
                "message": f"namespace {namespace} is being terminated",
                "field": "metadata.namespace",
            }
            error.details = {**(error.details or {}), "causes": [cause]}
            raise error

    def update(self, resource: Resource, body: Any, *, namespace: str, name: str, subresource: str = "", options: WriteOptions) -> Written:
        """Replace an object or its status (PUT). Raises ApiError 400, 404, 409 or 422."""
        objects.check_type(resource, body)
        objects.check_address(body, namespace=namespace, name=name)
        body = resource.stored(body)
        warnings = objects.report_unknown(resource, body, validation=options.validation)
        record = resource.bucket.get(namespace, name)
        if record is None:
            if not resource.creates_on_update or subresource:
                raise errors.not_found(resource.group, resource.plural, name)
            return self._create(resource, self._named(resource, body, namespace), options=options, warnings=warnings, entries=None)
        metadata = body.get("metadata") or {}
        if not metadata.get("resourceVersion") and resource.needs_version:
            broken = Violation("metadata.resourceVersion", "Invalid value: 0: must be specified for an update")
            raise errors.invalid(resource.group, resource.plural, name, [broken])
        if metadata.get("uid") not in (None, "", record.obj["metadata"]["uid"]):
            why = f"Precondition failed: UID in precondition: {metadata['uid']}, UID in object meta: {record.obj['metadata']['uid']}"
            raise errors.conflict(resource.group, resource.plural, name, why)
        return self._update(resource, body, record, subresource=subresource, options=options, warnings=warnings)

    def patch(
        self, resource: Resource, patch: Any, *, form: str, namespace: str, name: str, subresource: str = "", options: WriteOptions,
    ) -> Written:  # fmt: skip
        """Change an object by a JSON, merge or strategic merge patch; `form` is its content type. Raises ApiError."""
        record = resource.bucket.get(namespace, name)
        if record is None:
            raise errors.not_found(resource.group, resource.plural, name)
        before = resource.present(record.obj)
        patched = apply_patch(resource, before, patch, form=form)
        if not isinstance(patched, dict) or not isinstance(patched.get("metadata"), dict):
            raise errors.bad_request("the patched object is no longer an object with metadata")
        objects.check_type(resource, patched)
        patched = resource.stored(patched)
        try:
            warnings = objects.report_unknown(resource, _fresh(patched, record.obj), validation=options.validation)
        except errors.ApiError as error:
            raise _patch_error(error) from None
        objects.check_address(patched, namespace=namespace, name=name)
        if patched["metadata"].get("uid") != record.obj["metadata"]["uid"]:
            broken = Violation("metadata.uid", f'Invalid value: "{patched["metadata"].get("uid", "")}": field is immutable')
            raise errors.invalid(resource.group, resource.kind, name, [broken])
        return self._update(resource, patched, record, subresource=subresource, options=options, warnings=warnings, patching=True)

    def _update(
        self, resource: Resource, body: Object, record: Record, *, subresource: str, options: WriteOptions, warnings: list[str],
        entries: list[Any] | None = None, patching: bool = False,
    ) -> Written:  # fmt: skip
        old = record.obj
        version = (body.get("metadata") or {}).get("resourceVersion")
        if version and version != old["metadata"]["resourceVersion"]:
            if not str(version).isdigit():
                raise errors.ApiError(500, "", f'strconv.ParseUint: parsing "{version}": invalid syntax')
            raise errors.modified(resource.group, resource.plural, record.name)
        body = {**body, "metadata": body.get("metadata") or {}}
        try:
            shaped = objects.shape(resource, body, old)
        except errors.ApiError as error:
            raise (_patch_error(error) if patching else error) from None
        new = objects.carry_over(resource, shaped, old, subresource=subresource)
        if resource.builtin and resource.kind == "Service" and not subresource:
            new = carry_allocated(new, old)
        generation = objects.next_generation(resource, new, old)
        if generation is not None:
            new = {**new, "metadata": {**new["metadata"], "generation": generation}}
        if entries is None:
            live = old["metadata"].get("managedFields") or []
            entries = chosen_entries(live, body["metadata"].get("managedFields"), subresource=bool(subresource))
            if entries:
                author = self._author(resource, options, subresource)
                reset = _reset(resource, subresource)
                entries = after_update(resource.typed, _unowned(old), _unowned(new), entries=entries, author=author, reset=reset)
        new = _with_entries(new, entries)
        if new["metadata"] == old["metadata"]:
            new["metadata"] = old["metadata"]
        objects.refuse_invalid(resource, new, old, subresource=subresource)
        if resource.builtin and resource.kind == "Service" and not subresource:
            new = self._allocator.assign(new)
        return self._commit(resource, record, new, options=options, warnings=warnings)

    def _commit(self, resource: Resource, record: Record, new: Object, *, options: WriteOptions, warnings: list[str]) -> Written:
        if unchanged(new, record.obj):
            return Written(record, warnings=warnings)
        if options.dry_run:
            return Written(Record(record.namespace, record.name, record.revision, new), warnings=warnings)
        if is_finished(resource, new):
            gone = self._store.remove(resource.bucket, record)
            return Written(Record(record.namespace, record.name, gone.revision, new), warnings=warnings)
        return Written(self._store.put(resource.bucket, new), warnings=warnings)

    def apply(self, resource: Resource, config: Any, *, namespace: str, name: str, subresource: str = "", options: WriteOptions) -> Written:
        """Server-side apply. Raises ApiError 409 with the fields and managers in conflict, unless `options.force`."""
        self._check_applied(resource, config, namespace)
        record = resource.bucket.get(namespace, name)
        if record is None and subresource:
            raise errors.not_found(resource.group, resource.plural, name)
        config = resource.stored(config)
        self._check_declared(resource, config, name)
        author = self._author(resource, options, subresource)
        live = record.obj if record is not None else blank(resource)
        entries: list[Any] = live["metadata"].get("managedFields") or []
        if record is not None and not entries:
            first = Author(BEFORE_FIRST_APPLY, author.api_version, "", author.now)
            entries = after_update(resource.typed, blank(resource), _unowned(live), entries=[], author=first, reset=frozenset())
        metadata = {key: value for key, value in (config.get("metadata") or {}).items() if key not in ("resourceVersion", "uid")}
        merged, entries = after_apply(
            resource.typed, _unowned(live), {**config, "metadata": metadata},
            entries=entries, author=author, reset=_reset(resource, subresource), force=options.force,
        )  # fmt: skip
        if record is None:
            obj = self._named(resource, {**merged, "metadata": {**merged.get("metadata", {}), "name": name}}, namespace)
            return self._create(resource, obj, options=options, warnings=[], entries=entries)
        version = (config.get("metadata") or {}).get("resourceVersion")
        if version:
            merged = {**merged, "metadata": {**merged["metadata"], "resourceVersion": version}}
        objects.check_address(merged, namespace=namespace, name=name)
        return self._update(resource, merged, record, subresource=subresource, options=options, warnings=[], entries=entries)

    def _check_applied(self, resource: Resource, config: Any, namespace: str) -> None:
        if not isinstance(config, dict) or not config.get("kind") or not config.get("apiVersion"):
            kind = config.get("kind", "") if isinstance(config, dict) else ""
            raise errors.bad_request(f"invalid object type: /, Kind={kind}")
        if config["apiVersion"] != resource.api_version:
            raise errors.bad_request(
                f"Incorrect version specified in apply patch. Specified patch version: {config['apiVersion']}, expected: {resource.api_version}"
            )
        objects.check_type(resource, config)
        metadata = config.get("metadata") or {}
        if "managedFields" in metadata:
            raise errors.bad_request("metadata.managedFields must be nil")
        if namespace and metadata.get("namespace") not in (None, "", namespace):
            raise errors.bad_request("the namespace of the provided object does not match the namespace sent on the request")

    def _check_declared(self, resource: Resource, config: Object, name: str) -> None:
        problems = [f".{path}: field not declared in schema" for path in sorted(unknown_fields(resource.typed, config))]
        problems += [f".{path}: {text}" for path, text in objects.misfits(resource, config)]
        if problems:
            namespace = (config.get("metadata") or {}).get("namespace", "")
            who = f"({namespace}/{name}; {resource.group}/{resource.version}, Kind={resource.kind})"
            raise errors.ApiError(500, "", f"failed to create typed patch object {who}: {', '.join(problems)}")

    def _author(self, resource: Resource, options: WriteOptions, subresource: str) -> Author:
        return Author(options.manager, resource.api_version, subresource, timestamp(self._clock()))


def apply_patch(resource: Resource, before: Object, patch: Any, *, form: str) -> Any:
    """The object after a patch of the given content type. Raises ApiError 400, 415, 422 or 500."""
    try:
        if form == JSON_PATCH:
            if not isinstance(patch, list):
                raise errors.bad_request("error decoding patch: json: cannot unmarshal object into Go value of type []handlers.jsonPatchOp")
            return json_patch(before, patch)
        if not isinstance(patch, dict):
            raise errors.bad_request("error decoding patch: json: cannot unmarshal array into Go value of type map[string]interface {}")
        if form == MERGE_PATCH:
            return merge_patch(before, patch)
        return strategic_merge(resource.typed, before, patch)
    except PatchError as error:
        text = "the server rejected our request due to an error in our request"
        raise errors.ApiError(422, "Invalid", text, details={}) from error
    except MergeKeyMissingError as error:
        raise errors.ApiError(500, "", str(error)) from error


def _patch_error(error: errors.ApiError) -> errors.ApiError:
    """What does not decode after a patch is reported as a fault of the patch."""
    if error.code != 400:
        return error
    why = error.message.split(" cannot be handled as ", 1)[-1].split(": ", 1)[-1]
    return errors.invalid("", "", "", [Violation("patch", f"Invalid value: {why}")])


def _fresh(new: Object, old: Object) -> Object:
    return {key: value for key, value in new.items() if old.get(key) is not value}


def blank(resource: Resource) -> Object:
    """What ownership of a new object is measured against: for built-in kinds the zero value of its struct, else nothing."""
    empty: Object = {"metadata": {}}
    if not resource.builtin:
        return empty
    zero: Object = settle(resource.typed, empty)
    return zero


def _unowned(obj: Object) -> Object:
    """The object without its managedFields, which nobody owns."""
    metadata = obj["metadata"]
    if "managedFields" not in metadata:
        return obj
    return {**obj, "metadata": {key: value for key, value in metadata.items() if key != "managedFields"}}


def _with_entries(obj: Object, entries: list[Any]) -> Object:
    metadata = {key: value for key, value in obj["metadata"].items() if key != "managedFields"}
    return {**obj, "metadata": {**metadata, "managedFields": entries} if entries else metadata}


def _reset(resource: Resource, subresource: str) -> frozenset[str]:
    """Top-level fields that this request cannot change, hence cannot own."""
    if subresource == "status":
        return frozenset(("f:spec",)) if resource.builtin else frozenset(("f:spec", "f:metadata"))
    return frozenset(("f:status",)) if resource.status and not subresource else frozenset()


def unchanged(new: Object, old: Object) -> bool:
    """Whether a write would change nothing but the times in managedFields; such a write gets no new version."""
    if any(new.get(key) != old.get(key) for key in {*new, *old} - {"metadata"}):
        return False
    after, before = dict(new["metadata"]), dict(old["metadata"])
    mine, theirs = after.pop("managedFields", None) or [], before.pop("managedFields", None) or []
    return after == before and [{**one, "time": ""} for one in mine] == [{**one, "time": ""} for one in theirs]


def is_finished(resource: Resource, obj: Object) -> bool:
    """Whether an object marked for deletion has nothing left to wait for."""
    metadata = obj["metadata"]
    if not metadata.get("deletionTimestamp") or metadata.get("finalizers") or metadata.get("deletionGracePeriodSeconds"):
        return False
    return not (resource.builtin and resource.kind == "Namespace" and obj.get("spec", {}).get("finalizers"))
