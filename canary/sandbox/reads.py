"""Get and list: at the present or an earlier version, selected, in pages.

A page's continue token names the version and the last key, nothing else; the rest of the list is rebuilt from the bucket's history. So pages
are consistent with each other, and a token whose version was compacted away answers 410, which clients must handle.
"""

import base64
import binascii
import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass

from canary.sandbox.calls import ListOptions
from canary.sandbox.errors import ApiError, bad_request, expired, not_found
from canary.sandbox.resources import Resource
from canary.sandbox.selectors import Match, both, field_match, label_match
from canary.sandbox.store import Object, Record, Store


@dataclass(frozen=True, slots=True)
class Page:
    """A list, or a part of one; `metadata` is the list's."""

    records: list[Record]
    metadata: Object


def get_record(resource: Resource, *, namespace: str, name: str) -> Record:
    """One object. Raises ApiError 404."""
    record = resource.bucket.get(namespace, name)
    if record is None:
        raise not_found(resource.group, resource.plural, name)
    return record


def selection(resource: Resource, options: ListOptions) -> Match | None:
    """The selectors of a request as one predicate. Raises ApiError 400."""
    labels = label_match(options.labels) if options.labels else None
    fields = field_match(options.fields, resource.fields, builtin=resource.builtin) if options.fields else None
    return both(labels, fields)


def check_version(store: Store, version: int) -> None:
    """Raise ApiError 504 for a version that does not exist yet."""
    if version > store.revision:
        text = f"Timeout: Too large resource version: {version}, current: {store.revision}"
        causes = [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}]
        raise ApiError(504, "Timeout", text, details={"causes": causes, "retryAfterSeconds": 1})


def list_page(store: Store, resource: Resource, *, namespace: str | None, options: ListOptions) -> Page:
    """A list. Raises ApiError 400, 410 or 504."""
    match = selection(resource, options)
    bucket = resource.bucket
    if options.token:
        version, start = _read_token(options.token)
        if version < bucket.compacted:
            raise expired(
                "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter."
            )
        records = (one for one in bucket.records_at(version, namespace) if (one.namespace, one.name) > start)
        return _page(records, match, version=version, options=options, builtin=resource.builtin)
    if options.version is not None:
        check_version(store, options.version)
        if options.exact:
            if options.version < bucket.compacted:
                raise expired("The resourceVersion for the provided list is too old.")
            return _page(
                bucket.records_at(options.version, namespace), match, version=options.version, options=options, builtin=resource.builtin
            )
    return _page(bucket.records(namespace), match, version=store.revision, options=options, builtin=resource.builtin)


def _page(records: Iterator[Record], match: Match | None, *, version: int, options: ListOptions, builtin: bool) -> Page:
    chosen = records if match is None else (one for one in records if match(one.obj))
    metadata: Object = {"resourceVersion": str(version)}
    if not builtin:
        metadata["continue"] = ""
    if not options.limit:
        return Page(list(chosen), metadata)
    part = list(itertools.islice(chosen, options.limit))
    rest = sum(1 for _ in chosen) if len(part) == options.limit else 0
    if rest:
        metadata["continue"] = _token(version, part[-1])
        if match is None:
            metadata["remainingItemCount"] = rest
    return Page(part, metadata)


def _token(version: int, last: Record) -> str:
    text = json.dumps({"v": "meta.k8s.io/v1", "rv": version, "start": [last.namespace, last.name]}, separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _read_token(token: str) -> tuple[int, tuple[str, str]]:
    try:
        found = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
        namespace, name = found["start"]
        return int(found["rv"]), (str(namespace), str(name))
    except (ValueError, KeyError, TypeError, binascii.Error) as error:
        raise bad_request(f"invalid continue token: continue key is not valid: {error}") from None
