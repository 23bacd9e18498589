"""Refusals of the sandbox API, as the `Status` objects that clients of Kubernetes expect.

One exception type with builders, because every refusal ends as the same JSON document and callers differ only by `reason`. The wording is the
real server's, since clients and people match on it.
"""

from collections.abc import Iterable
from typing import Any

from canary.sandbox.schema_checks import Violation


class ApiError(Exception):
    """An answer of status Failure.

    `code` is the HTTP status, `reason` Kubernetes' machine-readable word, `details` the content of `Status.details` (name, group, kind,
    causes, retryAfterSeconds).
    """

    def __init__(self, code: int, reason: str, message: str, *, details: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.details = details

    def status(self) -> dict[str, Any]:
        """The `Status` object of the answer."""
        out: dict[str, Any] = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": self.message}
        if self.reason:
            out["reason"] = self.reason
        if self.details is not None:
            out["details"] = self.details
        return {**out, "code": self.code}


def object_details(name: str, group: str, kind: str) -> dict[str, Any]:
    """`Status.details` of one object; empty parts are left out, as the server does."""
    return {key: value for key, value in (("name", name), ("group", group), ("kind", kind)) if value}


def not_found(group: str, plural: str, name: str) -> ApiError:
    """404 for an object."""
    details = object_details(name, group, plural)
    return ApiError(404, "NotFound", f'{_qualified(plural, group)} "{name}" not found', details=details)


def no_such_resource() -> ApiError:
    """404 for a path that no resource serves."""
    return ApiError(404, "NotFound", "the server could not find the requested resource", details={})


def already_exists(group: str, plural: str, name: str) -> ApiError:
    """409 on create."""
    details = object_details(name, group, plural)
    return ApiError(409, "AlreadyExists", f'{_qualified(plural, group)} "{name}" already exists', details=details)


def conflict(group: str, plural: str, name: str, why: str) -> ApiError:
    """409 because the object is not in the state that the request assumes."""
    message = f'Operation cannot be fulfilled on {_qualified(plural, group)} "{name}": {why}'
    return ApiError(409, "Conflict", message, details=object_details(name, group, plural))


def modified(group: str, plural: str, name: str) -> ApiError:
    """409 for a stale resourceVersion."""
    return conflict(group, plural, name, "the object has been modified; please apply your changes to the latest version and try again")


def bad_request(message: str) -> ApiError:
    """400."""
    return ApiError(400, "BadRequest", message)


def forbidden(group: str, plural: str, name: str, why: str) -> ApiError:
    """403 for one object."""
    details = object_details(name, group, plural)
    return ApiError(403, "Forbidden", f'{_qualified(plural, group)} "{name}" is forbidden: {why}', details=details)


def invalid(group: str, kind: str, name: str, violations: Iterable[Violation]) -> ApiError:
    """422 with one cause per violation."""
    found = list(violations)
    texts = [f"{one.path}: {one.message}" for one in found]
    summary = texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
    causes = [{"reason": one.reason, "message": one.message, "field": one.path} for one in found]
    details = {**object_details(name, group, kind), "causes": causes}
    return ApiError(422, "Invalid", f'{_qualified(kind, group)} "{name}" is invalid: {summary}', details=details)


def expired(message: str) -> ApiError:
    """410: the version asked for has been compacted away; the client must list again."""
    return ApiError(410, "Expired", message)


def method_not_allowed() -> ApiError:
    """405."""
    return ApiError(405, "MethodNotAllowed", "the server does not allow this method on the requested resource", details={})


def unsupported_media_type(content_type: str, supported: Iterable[str]) -> ApiError:
    """415."""
    accepted = ", ".join(supported)
    return (
        ApiError(
            415, "UnsupportedMediaType", f"the body of the request was in an unknown format - accepted media types include: {accepted}"
        )
        if content_type
        else bad_request(f"missing content type, expected one of {accepted}")
    )


def _qualified(name: str, group: str) -> str:
    return f"{name}.{group}" if group else name
