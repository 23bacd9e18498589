"""Whatever is sent, the answer is a Status or an object, never a fault of the server, and the store stays readable."""

import copy
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from canary.sandbox.calls import Call, parse_path, verb_of
from canary.sandbox.cluster import Cluster
from canary.sandbox.errors import ApiError
from canary.sandbox.handlers import Body, Handlers
from tests.conformance.driver import APPLY, DEFINITIONS, MERGE, STRATEGIC, deployment, widget

pytestmark = pytest.mark.slow

junk = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 70000)
    | st.floats(-2, 2)
    | st.sampled_from(["", "x", "1", "5%", "None", "a b", "é", "10.96.0.9", "Recreate"]),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["name", "uid", "a", "$patch", "f:a", "type"]), inner, max_size=2)
    ),
    max_leaves=4,
)
POD = {
    "containers": [
        {
            "name": "c",
            "image": "x",
            "ports": [{"containerPort": 80}],
            "env": [{"name": "A", "value": "1"}],
            "resources": {"limits": {"cpu": "1"}},
        }
    ]
}
TARGET = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}
PATH = {"path": "/", "pathType": "Prefix", "backend": {"service": {"name": "s", "port": {"number": 80}}}}
SAMPLES: dict[str, dict[str, Any]] = {
    "/apis/apps/v1/namespaces/default/deployments": deployment("x"),
    "/apis/apps/v1/namespaces/default/daemonsets": {**deployment("x", replicas=None), "kind": "DaemonSet"},
    "/api/v1/namespaces/default/pods": {"spec": POD},
    "/api/v1/namespaces/default/services": {
        "spec": {"type": "NodePort", "selector": {"a": "b"}, "ports": [{"name": "a", "port": 80, "targetPort": "x"}]}
    },
    "/api/v1/namespaces/default/configmaps": {"data": {"a": "1"}, "binaryData": {"b": "AA=="}},
    "/api/v1/namespaces/default/secrets": {"stringData": {"a": "1"}, "data": {"b": "AA=="}},
    "/api/v1/namespaces/default/events": {
        "involvedObject": {"kind": "Pod", "name": "x", "namespace": "default"},
        "reason": "r",
        "count": 1,
    },
    "/api/v1/namespaces/default/endpoints": {"subsets": [{"addresses": [{"ip": "10.0.0.1"}], "ports": [{"port": 80}]}]},
    "/api/v1/nodes": {"status": {"capacity": {"cpu": "4"}, "conditions": [{"type": "Ready", "status": "True"}]}},
    "/api/v1/namespaces": {},
    "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers": {
        "spec": {"scaleTargetRef": TARGET, "maxReplicas": 2, "behavior": {"scaleUp": {}}}
    },
    "/apis/networking.k8s.io/v1/namespaces/default/ingresses": {"spec": {"rules": [{"host": "a.b", "http": {"paths": [PATH]}}]}},
    "/apis/networking.k8s.io/v1/namespaces/default/networkpolicies": {"spec": {"podSelector": {}, "ingress": [{"ports": [{"port": 80}]}]}},
    "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices": {
        "addressType": "IPv4",
        "endpoints": [{"addresses": ["10.0.0.1"]}],
        "ports": [{"port": 80}],
    },
    "/apis/coordination.k8s.io/v1/namespaces/default/leases": {"spec": {"holderIdentity": "x", "renewTime": "2026-01-01T00:00:00.000000Z"}},
    "/apis/policy/v1/namespaces/default/poddisruptionbudgets": {"spec": {"maxUnavailable": 1, "selector": {"matchLabels": {"a": "b"}}}},
    "/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings": {
        "roleRef": {"kind": "Role", "name": "r"},
        "subjects": [{"kind": "User", "name": "u"}],
    },
    "/apis/apiextensions.k8s.io/v1/customresourcedefinitions": copy.deepcopy(DEFINITIONS[1]),
    "/apis/conformance.test/v1/namespaces/default/widgets": widget(
        "x", ports=[{"name": "a"}], tags=["x"], table={"a": "1"}, choice={"left": "1"}
    ),
}


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    below = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(found for key, item in below for found in places(item, (*path, key)))]


def put(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    out = copy.copy(value)
    out[path[0]] = put(value[path[0]], path[1:], new)
    return out


class Client:
    """Requests without HTTP."""

    def __init__(self) -> None:
        self.cluster = Cluster()
        self.handlers = Handlers(self.cluster)
        self.cluster.create("apiextensions.k8s.io/v1", "CustomResourceDefinition", DEFINITIONS[0])

    def send(self, method: str, path: str, body: Any, *, form: str = "application/json", query: dict[str, str] | None = None) -> int:
        address = parse_path(path)
        assert address is not None
        call = Call(verb_of(method, address, query or {}), address, query or {}, "fuzz")
        data = Body(json.dumps(body).encode(), form, "application/json")
        try:
            reply = self.handlers.answer(self.handlers.find(call), call, data)
        except ApiError as error:
            json.dumps(error.status())
            return error.code
        json.loads(reply.body)
        return reply.code


def full(path: str, obj: dict[str, Any]) -> dict[str, Any]:
    metadata = {"name": "x", "labels": {"a": "b"}, "annotations": {"c": "d"}, "finalizers": ["a.test/x"], "ownerReferences": []}
    if path.endswith("customresourcedefinitions"):
        return {**obj, "metadata": {"name": obj["metadata"]["name"]}}
    return {**obj, "metadata": metadata}


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.rsplit("/", 1)[-1])
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_broken_objects_and_patches(path: str, data: st.DataObject) -> None:
    client = Client()
    good = full(path, SAMPLES[path])
    assert client.send("POST", path, good) == 201, "the sample itself must be accepted"
    place, value = data.draw(st.sampled_from(places(good))), data.draw(junk)
    broken = put(good, place, value)
    renamed = (
        {**broken, "metadata": {**broken["metadata"], "name": "y"}}
        if isinstance(broken, dict) and isinstance(broken.get("metadata"), dict)
        else broken
    )
    client.send("POST", path, renamed)
    where = f"{path}/{good['metadata']['name']}"
    client.send("PUT", where, broken)
    api_version = "/".join(path.split("/")[2:4]) if path.startswith("/apis") else "v1"
    kind = next(
        one.kind for one in client.cluster.registry.all() if one.plural == path.rsplit("/", 1)[-1] and one.api_version == api_version
    )
    for form in (MERGE, STRATEGIC, APPLY):
        query = {"fieldManager": "fuzz"} if form == APPLY else {}
        patch = {**broken, "apiVersion": api_version, "kind": kind} if form == APPLY and isinstance(broken, dict) else broken
        client.send("PATCH", where, patch, form=form, query=query)
        client.send("PATCH", f"{where}/status", patch, form=form, query=query)
    client.send("DELETE", where, value)
    assert client.send("GET", path, None) == 200
    for bucket in client.cluster.store.buckets():
        for change in bucket.changes_after(0):  # encoded when it was answered: a difference means that it was changed in place since
            assert json.loads(change.record.body()) == change.record.obj
