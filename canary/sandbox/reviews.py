"""Access and token reviews: kinds that are only asked, never stored.

The sandbox has no authorization: every review allows, and any token that is not empty belongs to the user `sandbox`.
"""

from canary.sandbox.resources import Resource
from canary.sandbox.store import Object


def review(resource: Resource, body: Object) -> Object:
    """The review with its status."""
    spec = body.get("spec") or {}
    if resource.kind == "TokenReview":
        user = {"username": "sandbox", "uid": "sandbox", "groups": ["system:masters", "system:authenticated"]}
        status: Object = {"authenticated": True, "user": user} if spec.get("token") else {"authenticated": False, "user": {}}
    else:
        status = {"allowed": True}
    return {"kind": resource.kind, "apiVersion": resource.api_version, "metadata": {}, "spec": spec, "status": status}
