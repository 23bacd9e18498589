"""Who owns which field: `metadata.managedFields`, kept at every write, and the conflicts of server-side apply.

Why at field level even for plain updates: an operator that shares objects with GitOps engines and autoscalers is correct exactly when it
takes no field that is not its own, and this record is the only witness. Rejected: recording only appliers, which hides lost conflicts.

Differences to the real server: entries are never squeezed together when more than ten managers update one object.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from canary.sandbox.errors import ApiError
from canary.sandbox.fieldsets import Trie, compare, difference, field_set, intersection, paths, union
from canary.sandbox.merge import merge, without_abandoned
from canary.sandbox.schema_nodes import Node

Entry = dict[str, Any]
Entries = list[Entry]

BEFORE_FIRST_APPLY: Final = "before-first-apply"
_NEVER_OWNED: Final[Trie] = {
    "f:apiVersion": {}, "f:kind": {},
    "f:metadata": {
        ".": {}, "f:name": {}, "f:namespace": {}, "f:creationTimestamp": {}, "f:selfLink": {}, "f:uid": {}, "f:clusterName": {},
        "f:generation": {}, "f:managedFields": {}, "f:resourceVersion": {},
    },
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Author:
    """Who writes: manager name, the API version and subresource of the request, and the time (RFC 3339) for the record."""

    manager: str
    api_version: str
    subresource: str
    now: str

    def entry(self, operation: str, fields: Trie) -> Entry:
        """A managedFields entry of this author."""
        out: Entry = {
            "manager": self.manager, "operation": operation, "apiVersion": self.api_version,
            "time": self.now, "fieldsType": "FieldsV1", "fieldsV1": fields,
        }  # fmt: skip
        if self.subresource == "scale":
            del out["time"]  # the real server forgets it for Scale, and sorts such entries first
        return {**out, "subresource": self.subresource} if self.subresource else out

    def owns(self, entry: Mapping[str, Any], operation: str) -> bool:
        """Whether the entry is this author's own, for that operation."""
        return (
            entry.get("manager") == self.manager
            and entry.get("operation") == operation
            and entry.get("apiVersion") == self.api_version
            and entry.get("subresource", "") == self.subresource
        )


def chosen_entries(live: Entries, sent: Any, *, subresource: bool) -> Entries:
    """The record to go on from: a client may reset it with `[{}]` or hand back one of its own, on the main resource only."""
    if subresource or not isinstance(sent, list) or not sent:
        return live
    if sent == [{}]:
        return []
    return sent if all(isinstance(one, dict) and one.get("fieldsType") == "FieldsV1" for one in sent) else live


def after_update(
    node: Node, old: dict[str, Any], new: dict[str, Any], *, entries: Entries, author: Author, reset: frozenset[str]
) -> Entries:
    """The record after a create, update or patch: the author gains what it changed, everybody else loses that and what was removed.

    `reset` are top-level fields that the resource ignores in this request (`f:status` on the main resource, and the reverse).
    """
    changed, removed = compare(node, old, new)
    if not changed and not removed:
        return entries
    gained = difference(_outside(changed, reset), _NEVER_OWNED)
    out: Entries = []
    mine: Trie = {}
    for entry in entries:
        fields = entry.get("fieldsV1") or {}
        if author.owns(entry, "Update"):
            mine = difference(fields, removed)
            continue
        rest = difference(difference(fields, changed), removed)
        if rest:
            out.append(entry if rest is fields or rest == fields else {**entry, "fieldsV1": rest})
    if gained:
        out.append(author.entry("Update", union(mine, gained)))
    elif mine:
        previous = next(entry for entry in entries if author.owns(entry, "Update"))
        out.append(previous if previous["fieldsV1"] == mine else {**previous, "fieldsV1": mine})
    return _sorted(out)


def after_apply(
    node: Node, live: dict[str, Any], config: dict[str, Any], *, entries: Entries, author: Author, reset: frozenset[str], force: bool,
) -> tuple[dict[str, Any], Entries]:  # fmt: skip
    """Server-side apply: the merged object and the new record.

    Raises ApiError 409 naming each manager and field that would be taken without `force`, 400/422 for a configuration that cannot be merged.
    """
    try:
        applied = _outside(field_set(node, config), reset)
        merged = merge(node, live, config)
    except KeyError as error:
        raise _unmergeable(f"associative list with keys has an element that omits key field {error}") from None
    except ValueError as error:
        raise _unmergeable(str(error)) from None
    others = [entry for entry in entries if not author.owns(entry, "Apply")]
    last = next((entry.get("fieldsV1") or {} for entry in entries if author.owns(entry, "Apply")), {})
    if last:
        kept = applied
        for entry in others:
            kept = union(kept, entry.get("fieldsV1") or {})
        merged = without_abandoned(node, merged, last, kept)
    changed, removed = compare(node, live, merged)
    others = _yield_fields(others, _outside(changed, reset), _outside(removed, reset), force=force)
    fields = difference(applied, _NEVER_OWNED)
    if fields:
        previous = next((entry for entry in entries if author.owns(entry, "Apply")), None)
        same = previous is not None and previous.get("fieldsV1") == fields and not changed and not removed
        others.append(previous if same and previous is not None else author.entry("Apply", fields))
    return merged, _sorted(others)


def _outside(fields: Trie, reset: frozenset[str]) -> Trie:
    return {key: below for key, below in fields.items() if key not in reset} if reset else fields


def _yield_fields(others: Entries, changed: Trie, removed: Trie, *, force: bool) -> Entries:
    taken = [(entry, intersection(entry.get("fieldsV1") or {}, changed)) for entry in others]
    conflicts = [(entry, both) for entry, both in taken if both]
    if conflicts and not force:
        raise _conflict(conflicts)
    out: Entries = []
    for entry, both in taken:
        fields = entry.get("fieldsV1") or {}
        rest = difference(difference(fields, both), removed)
        if rest:
            out.append(entry if rest == fields else {**entry, "fieldsV1": rest})
    return out


def _conflict(conflicts: list[tuple[Entry, Trie]]) -> ApiError:
    causes: list[dict[str, str]] = []
    groups: list[str] = []
    for entry, fields in sorted(conflicts, key=lambda one: str(one[0]["manager"])):
        who = _who(entry)
        found = list(paths(fields))
        causes += [{"reason": "FieldManagerConflict", "message": f"conflict with {who}", "field": path} for path in found]
        groups.append("\n- ".join([f"conflicts with {who}:", *found]))
    if len(causes) == 1:
        message = f"Apply failed with 1 conflict: {causes[0]['message']}: {causes[0]['field']}"
    else:
        message = f"Apply failed with {len(causes)} conflicts: " + "\n".join(groups)
    return ApiError(409, "Conflict", message, details={"causes": causes})


def _who(entry: Entry) -> str:
    who = f'"{entry["manager"]}"'
    if entry.get("subresource"):
        who += f' with subresource "{entry["subresource"]}"'
    if entry.get("operation") == "Apply":
        return who
    return f"{who} using {entry['apiVersion']}"


def _unmergeable(why: str) -> ApiError:
    return ApiError(500, "", f"failed to create typed patch object: {why}")


def _sorted(entries: Entries) -> Entries:
    return sorted(
        entries,
        key=lambda one: (one["operation"], one.get("time", ""), one["manager"], one.get("apiVersion", ""), one.get("subresource", "")),
    )
