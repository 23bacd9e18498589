"""What a request asks for: verb, resource, namespace, name and options, read from its line and headers.

The `Call` is also what fault hooks and the request counter see, so that tests speak of `("patch", "deployments/scale")`, not of URLs.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import unquote

from canary.sandbox.errors import ApiError, bad_request, invalid
from canary.sandbox.schema_checks import Violation
from canary.sandbox.writes import WriteOptions

_NAMESPACE_PARTS = frozenset(("status", "finalize"))


@dataclass(frozen=True, slots=True)
class Address:
    """A parsed path below `/api/v1` or `/apis/<group>/<version>`. `namespace` and `name` are None where the path has none."""

    group: str
    version: str
    plural: str
    namespace: str | None = None
    name: str | None = None
    subresource: str = ""
    watch: bool = False


@dataclass(frozen=True, slots=True)
class Call:
    """One request to a resource. `resource` is the plural, with the subresource after a slash; `agent` the first word of User-Agent."""

    verb: str
    address: Address
    query: Mapping[str, str]
    agent: str

    @property
    def resource(self) -> str:
        """`canaries`, `canaries/status`."""
        return f"{self.address.plural}/{self.address.subresource}" if self.address.subresource else self.address.plural

    def __str__(self) -> str:
        where = "/".join(part for part in (self.address.namespace, self.address.name) if part)
        return f"{self.verb} {self.resource} {where}".rstrip()


def parse_path(raw: str) -> Address | None:
    """The address of a resource path; None for everything else (discovery, health, unknown)."""
    parts = [unquote(part) for part in raw.strip("/").split("/")]
    if parts[0] == "api" and len(parts) > 2 and parts[1] == "v1":
        group, version, rest = "", "v1", parts[2:]
    elif parts[0] == "apis" and len(parts) > 3:
        group, version, rest = parts[1], parts[2], parts[3:]
    else:
        return None
    watch = rest[0] == "watch"
    if watch:
        rest = rest[1:]
    if not rest:
        return None
    namespace: str | None = None
    if rest[0] == "namespaces" and len(rest) > 2 and not (group == "" and len(rest) == 3 and rest[2] in _NAMESPACE_PARTS):
        namespace, rest = rest[1], rest[2:]
    name = rest[1] if len(rest) > 1 else None
    return Address(group, version, rest[0], namespace=namespace, name=name, subresource="/".join(rest[2:]), watch=watch)


def verb_of(method: str, address: Address, query: Mapping[str, str]) -> str:
    """Kubernetes' verb for a request; "" for a method that no resource knows."""
    if method in ("GET", "HEAD"):
        if address.watch or query.get("watch", "").lower() in ("1", "true"):
            return "watch"
        return "list" if address.name is None else "get"
    if method == "DELETE":
        return "deletecollection" if address.name is None else "delete"
    return {"POST": "create", "PUT": "update", "PATCH": "patch"}.get(method, "")


def manager_of(query: Mapping[str, str], agent: str) -> str:
    """The field manager of a write: as given, else the client's name from User-Agent."""
    return query.get("fieldManager") or agent.split("/", 1)[0] or "unknown"


def write_options(query: Mapping[str, str], *, agent: str, kind: str, apply: bool = False) -> WriteOptions:
    """Options of a create, update or patch. `kind` names the options object in messages. Raises ApiError 422."""
    found: list[Violation] = []
    dry_run, validation = query.get("dryRun", ""), query.get("fieldValidation", "")
    if dry_run not in ("", "All"):
        found.append(Violation("dryRun", f'Unsupported value: ["{dry_run}"]: supported values: "All"'))
    if validation not in ("", "Ignore", "Warn", "Strict"):
        found.append(Violation("fieldValidation", f'Unsupported value: "{validation}": supported values: "Ignore", "Strict", "Warn"'))
    if apply and not query.get("fieldManager"):
        found.append(Violation("fieldManager", "Required value: is required for apply patch"))
    if "force" in query and not apply and kind == "PatchOptions":
        found.append(Violation("force", "Forbidden: may not be specified for non-apply patch"))
    if found:
        raise invalid("meta.k8s.io", kind, "", found)
    return WriteOptions(
        manager=manager_of(query, agent), dry_run=dry_run == "All", validation=validation or "Warn",
        force=query.get("force", "").lower() in ("1", "true"),
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class ListOptions:
    """Options of list and watch. `version` is None when the request names none; `limit` 0 means all."""

    labels: str
    fields: str
    version: int | None
    exact: bool
    limit: int
    token: str
    timeout: float | None
    bookmarks: bool
    initial_events: bool

    @classmethod
    def parse(cls, query: Mapping[str, str], *, watch: bool) -> "ListOptions":
        """From the query. Raises ApiError 400 or 422."""
        match, initial = query.get("resourceVersionMatch", ""), query.get("sendInitialEvents", "").lower() in ("1", "true")
        raw = query.get("resourceVersion", "")
        _check_combination(query, watch=watch)
        if raw and not raw.isdigit():
            if watch:
                raise ApiError(500, "", f'resourceVersion: Invalid value: "{raw}": strconv.ParseUint: parsing "{raw}": invalid syntax')
            raise bad_request(
                f'invalid resource version: resourceVersion: Invalid value: "{raw}": strconv.ParseUint: parsing "{raw}": invalid syntax'
            )
        timeout = _number(query.get("timeoutSeconds", ""))
        return cls(
            labels=query.get("labelSelector", ""), fields=query.get("fieldSelector", ""), version=int(raw) if raw else None,
            exact=match == "Exact", limit=_number(query.get("limit", "")) or 0, token=query.get("continue", ""),
            timeout=float(timeout) if timeout else None, bookmarks=query.get("allowWatchBookmarks", "").lower() in ("1", "true"),
            initial_events=initial,
        )  # fmt: skip


def _number(text: str) -> int | None:
    if not text:
        return None
    try:
        return int(text)
    except ValueError:
        raise bad_request(f'strconv.ParseInt: parsing "{text}": invalid syntax') from None


def _check_combination(query: Mapping[str, str], *, watch: bool) -> None:
    found: list[Violation] = []
    match, initial = query.get("resourceVersionMatch", ""), query.get("sendInitialEvents")
    if initial is not None and not watch:
        found.append(Violation("sendInitialEvents", "Forbidden: sendInitialEvents is forbidden for list"))
    elif initial is not None and match != "NotOlderThan":
        found.append(
            Violation("resourceVersionMatch", "Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan")
        )
    elif watch and match and initial is None:
        found.append(
            Violation("resourceVersionMatch", "Forbidden: resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided")
        )
    elif not watch and match and not query.get("resourceVersion"):
        found.append(Violation("resourceVersionMatch", "Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided"))
    elif match not in ("", "Exact", "NotOlderThan"):
        found.append(Violation("resourceVersionMatch", f'Unsupported value: "{match}": supported values: "Exact", "NotOlderThan", ""'))
    if found:
        raise invalid("meta.k8s.io", "ListOptions", "", found)
