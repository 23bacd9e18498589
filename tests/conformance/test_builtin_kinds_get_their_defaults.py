"""What the server fills into built-in kinds, and what of their content it refuses."""

import base64
import ipaddress

import pytest

from tests.conformance.driver import STRATEGIC, Driver, Object, config_map, deployment


async def test_deployment_spec(api: Driver) -> None:
    spec = (await api.create("deployments", deployment("d", replicas=None)))["spec"]
    template = spec.pop("template")
    assert spec == {
        "replicas": 1,
        "selector": {"matchLabels": {"app": "d"}},
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"}},
        "revisionHistoryLimit": 10,
        "progressDeadlineSeconds": 600,
    }
    assert template["metadata"] == {"labels": {"app": "d"}}
    pod = template["spec"]
    container = pod.pop("containers")[0]
    assert pod == {
        "restartPolicy": "Always",
        "terminationGracePeriodSeconds": 30,
        "dnsPolicy": "ClusterFirst",
        "securityContext": {},
        "schedulerName": "default-scheduler",
    }
    assert container == {
        "name": "app",
        "image": "app:1",
        "imagePullPolicy": "IfNotPresent",
        "resources": {},
        "terminationMessagePath": "/dev/termination-log",
        "terminationMessagePolicy": "File",
    }


@pytest.mark.parametrize(
    ("image", "policy"),
    [
        ("app", "Always"),
        ("app:latest", "Always"),
        ("app:1", "IfNotPresent"),
        ("host:5000/app", "Always"),
        ("app@sha256:" + "0" * 64, "IfNotPresent"),
    ],
)
async def test_pull_policy_follows_the_tag(api: Driver, image: str, policy: str) -> None:
    made = await api.create("deployments", deployment("d", image=image))
    assert made["spec"]["template"]["spec"]["containers"][0]["imagePullPolicy"] == policy


async def test_parts_of_containers(api: Driver) -> None:
    made = await api.create(
        "deployments",
        deployment(
            "d",
            ports=[{"containerPort": 80}],
            env=[{"name": "EMPTY", "value": ""}, {"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
            livenessProbe={"httpGet": {"port": 80}},
            readinessProbe={"grpc": {"port": 80}},
            resources={"limits": {"cpu": "1000m", "memory": "1.5Gi"}, "requests": {"cpu": 0.5}},
            tty=False,
            securityContext={"readOnlyRootFilesystem": False},
        ),
    )
    container = made["spec"]["template"]["spec"]["containers"][0]
    assert container["ports"] == [{"containerPort": 80, "protocol": "TCP"}]
    assert container["env"] == [
        {"name": "EMPTY"},
        {"name": "NAME", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.name"}}},
    ]
    times = {"timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3}
    assert container["livenessProbe"] == {"httpGet": {"path": "/", "port": 80, "scheme": "HTTP"}, **times}
    assert container["readinessProbe"] == {"grpc": {"port": 80, "service": ""}, **times}
    assert container["resources"] == {"limits": {"cpu": "1", "memory": "1536Mi"}, "requests": {"cpu": "500m"}}
    assert "tty" not in container
    assert container["securityContext"] == {"readOnlyRootFilesystem": False}


async def test_volumes(api: Driver) -> None:
    obj = deployment("d")
    obj["spec"]["template"]["spec"]["volumes"] = [
        {"name": "a"},
        {"name": "b", "configMap": {"name": "x"}},
        {"name": "c", "secret": {"secretName": "x"}},
        {"name": "d", "hostPath": {"path": "/x"}},
    ]
    made = await api.create("deployments", obj)
    assert made["spec"]["template"]["spec"]["volumes"] == [
        {"name": "a", "emptyDir": {}},
        {"name": "b", "configMap": {"name": "x", "defaultMode": 420}},
        {"name": "c", "secret": {"secretName": "x", "defaultMode": 420}},
        {"name": "d", "hostPath": {"path": "/x", "type": ""}},
    ]


async def test_null_stands_for_the_default(api: Driver) -> None:
    obj = deployment("d", replicas=None)
    obj["spec"] |= {"replicas": None, "paused": None, "revisionHistoryLimit": None}
    spec = (await api.create("deployments", obj))["spec"]
    assert (spec["replicas"], spec["revisionHistoryLimit"], "paused" in spec) == (1, 10, False)


async def test_daemon_set(api: Driver) -> None:
    made = await api.create("daemonsets", {**deployment("d", replicas=None), "kind": "DaemonSet"})
    assert made["spec"]["updateStrategy"] == {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 0}}
    assert made["spec"]["revisionHistoryLimit"] == 10


async def test_service_gets_an_address(api: Driver) -> None:
    ports = [{"name": "a", "port": 80}, {"name": "b", "port": 81, "targetPort": "x"}]
    made = await api.create("services", {"metadata": {"name": "s"}, "spec": {"selector": {"a": "b"}, "ports": ports}})
    spec = made["spec"]
    address = spec.pop("clusterIP")
    assert ipaddress.ip_address(address) in ipaddress.ip_network("10.96.0.0/16")
    assert spec.pop("clusterIPs") == [address]
    assert spec == {
        "type": "ClusterIP",
        "sessionAffinity": "None",
        "internalTrafficPolicy": "Cluster",
        "ipFamilies": ["IPv4"],
        "ipFamilyPolicy": "SingleStack",
        "selector": {"a": "b"},
        "ports": [
            {"name": "a", "port": 80, "protocol": "TCP", "targetPort": 80},
            {"name": "b", "port": 81, "protocol": "TCP", "targetPort": "x"},
        ],
    }


async def test_service_keeps_its_address(api: Driver) -> None:
    made = await api.create("services", {"metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}]}})
    updated = await api.call("PUT", api.path("services", "s"), {"metadata": {"name": "s"}, "spec": {"ports": [{"port": 81}]}}, expect=200)
    assert updated.body["spec"]["clusterIP"] == made["spec"]["clusterIP"]
    answer = await api.call("PATCH", api.path("services", "s"), {"spec": {"clusterIP": "10.96.77.77"}}, type="application/merge-patch+json")
    assert answer.code == 422
    assert "may not change once set" in answer.body["message"]


async def test_headless_and_external_services(api: Driver) -> None:
    headless = await api.create("services", {"metadata": {"name": "h"}, "spec": {"clusterIP": "None", "ports": [{"port": 80}]}})
    assert headless["spec"]["clusterIPs"] == ["None"]
    external = await api.create("services", {"metadata": {"name": "e"}, "spec": {"type": "ExternalName", "externalName": "a.test"}})
    assert external["spec"] == {"type": "ExternalName", "externalName": "a.test", "sessionAffinity": "None"}


async def test_node_port_is_given_out(api: Driver) -> None:
    made = await api.create("services", {"metadata": {"name": "s"}, "spec": {"type": "NodePort", "ports": [{"port": 80}]}})
    assert 30000 <= made["spec"]["ports"][0]["nodePort"] <= 32767
    assert made["spec"]["externalTrafficPolicy"] == "Cluster"


async def test_address_twice_is_refused(api: Driver) -> None:
    made = await api.create("services", {"metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}]}})
    body = {"metadata": {"name": "t"}, "spec": {"clusterIP": made["spec"]["clusterIP"], "ports": [{"port": 80}]}}
    answer = await api.call("POST", api.path("services"), body)
    assert answer.code == 422
    assert "already allocated" in answer.causes["spec.clusterIPs"]


async def test_autoscaler(api: Driver) -> None:
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "none"}
    made = await api.create("horizontalpodautoscalers", {"metadata": {"name": "h"}, "spec": {"scaleTargetRef": target, "maxReplicas": 3}})
    assert made["spec"]["minReplicas"] == 1
    assert made["spec"]["metrics"] == [
        {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}}
    ]
    answer = await api.call(
        "POST",
        api.path("horizontalpodautoscalers"),
        {"metadata": {"name": "i"}, "spec": {"scaleTargetRef": target, "maxReplicas": 1, "minReplicas": 2}},
    )
    assert "spec.maxReplicas" in answer.causes


async def test_secret(api: Driver) -> None:
    made = await api.create("secrets", {"metadata": {"name": "s"}, "stringData": {"a": "1"}})
    assert (made["type"], made["data"], "stringData" in made) == ("Opaque", {"a": base64.b64encode(b"1").decode()}, False)
    broken = await api.call("POST", api.path("secrets"), {"metadata": {"name": "t"}, "data": {"a": "!"}})
    assert broken.code == 400


async def test_immutable_config_map(api: Driver) -> None:
    await api.create("configmaps", {**config_map("c", {"a": "1"}), "immutable": True})
    answer = await api.call("PATCH", api.path("configmaps", "c"), {"data": {"a": "2"}}, type="application/merge-patch+json")
    assert answer.causes == {"data": "Forbidden: field is immutable when `immutable` is set"}


async def test_endpoint_slice(api: Driver) -> None:
    body = {"metadata": {"name": "e"}, "addressType": "IPv4", "endpoints": [{"addresses": ["10.1.2.3"]}], "ports": [{"port": 80}]}
    made = await api.create("endpointslices", body)
    assert made["endpoints"] == [{"addresses": ["10.1.2.3"], "conditions": {}}]
    assert made["ports"] == [{"name": "", "port": 80, "protocol": "TCP"}]


async def test_ingress_must_say_its_path_type(api: Driver) -> None:
    backend = {"service": {"name": "s", "port": {"number": 80}}}
    rule = {"host": "a.test", "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]}}
    await api.create("ingresses", {"metadata": {"name": "i"}, "spec": {"rules": [rule]}})
    del rule["http"]["paths"][0]["pathType"]  # type: ignore[index]
    answer = await api.call("POST", api.path("ingresses"), {"metadata": {"name": "j"}, "spec": {"rules": [rule]}})
    assert answer.causes == {"spec.rules[0].http.paths[0].pathType": "Required value: pathType must be specified"}


async def test_pod_is_pending_with_tolerations_and_requests(api: Driver) -> None:
    container = {"name": "c", "image": "x", "resources": {"limits": {"cpu": 1}}}
    spec: Object = {"containers": [container], "nodeName": "nowhere"}
    made = await api.create("pods", {"metadata": {"name": "p"}, "spec": spec, "status": {"phase": "Running"}})
    assert made["status"] == {"phase": "Pending", "qosClass": "Burstable"}
    assert made["spec"]["containers"][0]["resources"] == {"limits": {"cpu": "1"}, "requests": {"cpu": "1"}}
    assert [one["key"] for one in made["spec"]["tolerations"]] == ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"]
    assert made["spec"]["enableServiceLinks"] is True


async def test_namespace(api: Driver) -> None:
    made = (await api.call("GET", api.path("namespaces", api.namespace), expect=200)).body
    assert made["metadata"]["labels"] == {"kubernetes.io/metadata.name": api.namespace}
    assert (made["spec"], made["status"]) == ({"finalizers": ["kubernetes"]}, {"phase": "Active"})
    for name in ("default", "kube-system"):
        await api.call("GET", api.path("namespaces", name), expect=200)


async def test_unknown_fields_are_dropped_with_a_warning(api: Driver) -> None:
    obj = deployment("d")
    obj["spec"]["nonsense"] = 1
    answer = await api.call("POST", api.path("deployments"), obj, expect=201)
    assert "nonsense" not in answer.body["spec"]
    assert answer.headers["Warning"] == '299 - "unknown field \\"spec.nonsense\\""'


async def test_unknown_fields_are_refused_on_demand(api: Driver) -> None:
    obj = deployment("d")
    obj["spec"]["nonsense"] = 1
    answer = await api.call("POST", api.path("deployments") + "?fieldValidation=Strict", obj)
    assert answer.code == 400
    assert 'strict decoding error: unknown field "spec.nonsense"' in answer.body["message"]
    ignored = await api.call("POST", api.path("deployments") + "?fieldValidation=Ignore", obj, expect=201)
    assert "Warning" not in ignored.headers


async def test_wrong_types_do_not_decode(api: Driver) -> None:
    answer = await api.call("POST", api.path("deployments"), deployment("d", replicas="many"))  # type: ignore[arg-type]
    assert (answer.code, answer.reason) == (400, "BadRequest")
    assert 'Deployment in version "v1" cannot be handled as a Deployment: json: cannot unmarshal string' in answer.body["message"]


async def test_deployment_rules(api: Driver) -> None:
    await api.create("deployments", deployment("d"))

    async def refused(patch: Object) -> dict[str, str]:
        answer = await api.call("PATCH", api.path("deployments", "d"), patch, type=STRATEGIC)
        assert answer.code == 422, answer.body
        return answer.causes

    assert await refused({"spec": {"replicas": -1}}) == {"spec.replicas": "Invalid value: -1: must be greater than or equal to 0"}
    broken = await refused({"spec": {"selector": {"matchLabels": {"x": "y"}}}})
    assert broken["spec.selector"].endswith("field is immutable")
    assert broken["spec.template.metadata.labels"].endswith("`selector` does not match template `labels`")
    gone = {"spec": {"template": {"spec": {"containers": [{"name": "app", "$patch": "delete"}]}}}}
    assert await refused(gone) == {"spec.template.spec.containers": "Required value"}


async def test_names_of_service_ports(api: Driver) -> None:
    answer = await api.call("POST", api.path("services"), {"metadata": {"name": "s"}, "spec": {"ports": [{"port": 1}, {"port": 2}]}})
    assert set(answer.causes) == {"spec.ports[0].name", "spec.ports[1].name"}


async def test_events_in_both_versions(api: Driver) -> None:
    about = {"kind": "Pod", "name": "x", "namespace": api.namespace}
    await api.create("events", {"metadata": {"name": "e"}, "involvedObject": about, "reason": "r", "message": "m", "type": "Normal"})
    path = f"/apis/events.k8s.io/v1/namespaces/{api.namespace}/events"
    shown = (await api.call("GET", f"{path}/e", expect=200)).body
    assert (shown["regarding"], shown["note"], shown["eventTime"]) == (about, "m", None)
    missing = await api.call("POST", path, {"metadata": {"name": "f"}, "regarding": about, "reason": "r", "note": "m", "type": "Normal"})
    assert missing.causes == {"eventTime": "Required value"}
    elsewhere = await api.call("POST", api.path("events"), {"metadata": {"name": "g"}, "involvedObject": {**about, "namespace": "other"}})
    assert "involvedObject.namespace" in elsewhere.causes
