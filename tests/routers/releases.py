"""Releases, and a stand-in for what the API server does with applied objects, for the tests of all routers."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from canary.api.canary import Canary
from canary.core.release import Options, Release
from canary.kube.resource import Object
from canary.routers.base import Live, ObjectRef, Router, Wanted
from tests.testbed.documents import document

UID = "11111111-2222-3333-4444-555555555555"


def release(
    provider: str,
    spec: str | Mapping[str, Any] = "",
    *,
    options: Options | None = None,
    iterations: int = 0,
    namespace: str = "test",
    uid: str = UID,
) -> Release:
    """Canary podinfo under `provider`; `spec` (YAML or dict) is laid over service port 9898 and a 10 % step analysis."""
    given = parse(spec) if isinstance(spec, str) else copy.deepcopy(dict(spec))
    service = {"port": 9898, **given.get("service", {})}
    if provider.startswith("gatewayapi"):
        service.setdefault("gatewayRefs", [{"name": "gateway", "namespace": "infra"}])
    analysis = {"interval": "15s", "threshold": 5, **given.get("analysis", {})}
    if not {"iterations", "stepWeight", "stepWeights"} & set(analysis):
        analysis["stepWeight"] = 10
    canary = Canary.model_validate(
        {
            "apiVersion": "flagger.app/v1beta1",
            "kind": "Canary",
            "metadata": {"name": "podinfo", "namespace": namespace, "uid": uid},
            "spec": {
                "provider": provider,
                "targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "podinfo"},
                "service": service,
                "analysis": analysis,
            },
            "status": {"phase": "Progressing", "iterations": iterations},
        }
    )
    return Release(canary, provider, "app", "podinfo", options=options or Options())


def parse(text: str) -> dict[str, Any]:
    """YAML of a map; empty text is an empty map."""
    return dict(document(text) or {})


def nothing(router: Router, of: Release) -> Live:
    """An empty cluster."""
    return dict.fromkeys(router.objects(of))


def applied(wanted: Sequence[Wanted], before: Live) -> dict[ObjectRef, Object | None]:
    """What the cluster holds once these were applied over `before` (one-writer world: our fields replace, others stay)."""
    after: dict[ObjectRef, Object | None] = copy.deepcopy(dict(before))
    for one in wanted:
        ref = ObjectRef(one.resource, one.body["metadata"]["name"])
        old = after.get(ref)
        new = copy.deepcopy(old) if old else {}
        _merge(new, one.body)
        for path in one.exact:
            _replace(new, one.body, path)
        new["metadata"].setdefault("uid", f"uid-of-{ref.name}")
        new["metadata"]["generation"] = (old or {}).get("metadata", {}).get("generation", 0) + 1
        after[ref] = new
    return after


def _merge(into: Object, body: Object) -> None:
    for key, value in body.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = copy.deepcopy(value)


def _replace(into: Object, body: Object, path: tuple[str, ...]) -> None:
    for key in path[:-1]:
        into, body = into[key], body.get(key, {})
    if path[-1] in body:
        into[path[-1]] = copy.deepcopy(body[path[-1]])
