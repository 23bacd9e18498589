"""The load tester's chart: what it installs by default, what each value changes, which values it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from loadtest.options import Options, read_options
from tests.charts.helm import Chart

pytestmark = pytest.mark.slow

# Every value that Flagger's loadtester chart 0.38 has, at its default there (the image aside), or set to something.
UPSTREAM_DEFAULTS: dict[str, Any] = {
    "replicaCount": 1,
    "image": {"pullPolicy": "IfNotPresent", "pullSecret": ""},
    "podAnnotations": {"prometheus.io/scrape": "true", "prometheus.io/port": "8080"},
    "podLabels": {},
    "podPriorityClassName": "",
    "logLevel": "info",
    "cmd": {"timeout": "1h", "namespaceRegexp": ""},
    "nameOverride": "",
    "fullnameOverride": "",
    "service": {"type": "ClusterIP", "port": 80},
    "resources": {"requests": {"cpu": "10m", "memory": "64Mi"}},
    "env": [],
    "volumes": [],
    "volumeMounts": [],
    "nodeSelector": {},
    "tolerations": [],
    "affinity": {},
    "rbac": {"create": False, "scope": None, "rules": [], "serviceAccountAnnotations": {}},
    "serviceAccountName": "",
    "meshName": "",
    "appmesh": {"enabled": False, "backends": ["podinfo", "podinfo-canary"]},
    "istio": {
        "enabled": False,
        "host": "flagger-loadtester.flagger",
        "gateway": {"enabled": False},
        "tls": {"enabled": False, "httpsRedirect": False},
    },
    "securityContext": {"enabled": False, "context": {"readOnlyRootFilesystem": True, "runAsUser": 100, "runAsGroup": 101}},
    "podSecurityContext": {"enabled": False, "context": {"fsGroup": 101, "fsGroupChangePolicy": "OnRootMismatch"}},
    "podDisruptionBudget": {"enabled": False, "minAvailable": 1},
}
EVERYTHING: dict[str, Any] = {
    "replicaCount": 3,
    "image": {"repository": "mirror/loadtester", "tag": "1.2.3", "pullPolicy": "Always", "pullSecret": "pull"},
    "podAnnotations": {"a": "b"},
    "podLabels": {"team": "core", "app": "must-not-win"},
    "podPriorityClassName": "high",
    "logLevel": "debug",
    "cmd": {"timeout": "90m", "namespaceRegexp": "team-.*|prod", "allow": ["hey", "curl"], "maxConcurrency": 5, "maxOutput": "1MiB"},
    "auth": {"existingSecret": "load-token", "key": "value"},
    "persistence": {
        "enabled": True,
        "storageClass": "fast",
        "accessModes": ["ReadWriteMany"],
        "size": "1Gi",
        "annotations": {"keep": "yes"},
    },
    "service": {"type": "NodePort", "port": 8080, "annotations": {"s": "t"}},
    "resources": {"limits": {"memory": "1Gi"}},
    "env": [{"name": "HTTP_PROXY", "value": "http://proxy"}],
    "volumes": [{"name": "scripts", "configMap": {"name": "scripts"}}],
    "volumeMounts": [{"name": "scripts", "mountPath": "/scripts", "readOnly": True}],
    "nodeSelector": {"disk": "ssd"},
    "tolerations": [{"operator": "Exists"}],
    "affinity": {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []}},
    "rbac": {
        "create": True,
        "scope": "cluster",
        "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}],
        "serviceAccountAnnotations": {"role": "{{ .Release.Name }}"},
    },
    "podDisruptionBudget": {"enabled": True, "minAvailable": "50%"},
    "networkPolicy": {"enabled": True},
    "istio": {"enabled": True, "host": "load.example.com", "gateway": {"enabled": True}, "tls": {"enabled": True, "httpsRedirect": True}},
    "extraDeploy": [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "scripts"}},
        "apiVersion: v1\nkind: Secret\nmetadata:\n  name: {{ .Release.Name }}-extra\n",
    ],
}


@pytest.fixture(scope="module")
def chart(tmp_path_factory: pytest.TempPathFactory) -> Chart:
    return Chart("loadtester", tmp_path_factory.mktemp("helm"))


def deployment(objects: dict[tuple[str, str], Any]) -> dict[str, Any]:
    (found,) = (item for (kind, _), item in objects.items() if kind == "Deployment")
    return found


def container(objects: dict[tuple[str, str], Any]) -> dict[str, Any]:
    (found,) = deployment(objects)["spec"]["template"]["spec"]["containers"]
    return found


def options(objects: dict[tuple[str, str], Any]) -> Options:
    """The flags as the program itself reads them."""
    return read_options(container(objects)["args"])


@pytest.mark.parametrize("values", [{}, UPSTREAM_DEFAULTS, EVERYTHING], ids=["defaults", "upstream", "everything"])
def test_the_chart_is_free_of_lint(chart: Chart, values: dict[str, Any]) -> None:
    found = chart.run("lint", "--strict", str(chart.directory), values=values)
    assert found.returncode == 0, found.stdout + found.stderr
    assert "WARNING" not in found.stdout


def test_by_default_there_is_a_deployment_and_a_service_and_nothing_else(chart: Chart) -> None:
    objects = chart.render()
    assert set(objects) == {("Deployment", "load-loadtester"), ("Service", "load-loadtester")}
    found = options(objects)
    assert (found.port, found.timeout, found.namespace_regexp, found.log_level, found.max_concurrency, found.max_output) == (
        8080,
        3600.0,
        "",
        "info",
        32,
        65536,
    )
    assert (found.state_dir, found.token_file, found.allow_cmd) == (Path("/var/lib/loadtester"), None, ())


def test_the_address_of_the_2020_talk_is_served(chart: Chart) -> None:
    objects = chart.render({"fullnameOverride": "load-tester"})
    service = objects["Service", "load-tester"]
    assert service["metadata"]["namespace"] == "prod"
    (port,) = service["spec"]["ports"]
    assert (port["port"], port["targetPort"]) == (80, "http")
    pod = deployment(objects)["spec"]["template"]["metadata"]["labels"]
    assert service["spec"]["selector"].items() <= pod.items()
    assert {"name": "http", "containerPort": 8080, "protocol": "TCP"} in container(objects)["ports"]


@pytest.mark.parametrize("values", [{}, EVERYTHING, {"nameOverride": "tester"}], ids=["defaults", "everything", "named"])
def test_the_selector_is_flaggers_so_that_a_release_can_be_taken_over(chart: Chart, values: dict[str, Any]) -> None:
    spec = deployment(chart.render(values))["spec"]
    assert spec["selector"] == {"matchLabels": {"app": values.get("nameOverride", "loadtester")}}
    assert spec["selector"]["matchLabels"].items() <= spec["template"]["metadata"]["labels"].items()


def test_two_releases_in_a_namespace_do_not_answer_for_each_other(chart: Chart) -> None:
    left, right = chart.render(release="left"), chart.render(release="right")
    pod = deployment(right)["spec"]["template"]["metadata"]["labels"]
    assert not left["Service", "left-loadtester"]["spec"]["selector"].items() <= pod.items()


def test_the_pod_is_admitted_under_the_restricted_standard(chart: Chart) -> None:
    objects = chart.render()
    pod, own = deployment(objects)["spec"]["template"]["spec"], container(objects)["securityContext"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert own["allowPrivilegeEscalation"] is False
    assert own["capabilities"] == {"drop": ["ALL"]}
    assert (own["runAsNonRoot"], own["runAsUser"], own["seccompProfile"]) == (True, 65532, {"type": "RuntimeDefault"})
    assert own["readOnlyRootFilesystem"] is True
    assert {next(iter(set(volume) - {"name"})) for volume in pod["volumes"]} <= {
        "emptyDir",
        "configMap",
        "secret",
        "persistentVolumeClaim",
        "projected",
    }
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
    assert pod["automountServiceAccountToken"] is False
    writable = {mount["mountPath"] for mount in container(objects)["volumeMounts"] if not mount.get("readOnly")}
    assert writable == {"/tmp", "/var/lib/loadtester"}


def test_probes_need_no_program_in_the_image(chart: Chart) -> None:
    for probe in ("livenessProbe", "readinessProbe"):
        assert container(chart.render())[probe]["httpGet"] == {"path": "/healthz", "port": "http"}


def test_values_of_flaggers_chart_are_taken_as_they_are(chart: Chart) -> None:
    objects = chart.render(UPSTREAM_DEFAULTS)
    assert set(objects) == {("Deployment", "load-loadtester"), ("Service", "load-loadtester")}
    assert "securityContext" not in container(objects)
    assert "securityContext" not in deployment(objects)["spec"]["template"]["spec"]


def test_every_value_reaches_its_object(chart: Chart) -> None:
    objects = chart.render(EVERYTHING)
    spec = deployment(objects)["spec"]
    pod, own = spec["template"]["spec"], container(objects)
    assert (spec["replicas"], own["image"], own["imagePullPolicy"]) == (3, "mirror/loadtester:1.2.3", "Always")
    assert pod["imagePullSecrets"] == [{"name": "pull"}]
    assert spec["template"]["metadata"]["labels"]["team"] == "core"
    assert spec["template"]["metadata"]["labels"]["app"] == "loadtester"
    assert spec["template"]["metadata"]["annotations"] == {"a": "b", **UPSTREAM_DEFAULTS["podAnnotations"]}
    found = options(objects)
    assert (found.log_level, found.timeout, found.namespace_regexp, found.allow_cmd) == ("debug", 5400.0, "team-.*|prod", ("hey", "curl"))
    assert (found.max_concurrency, found.max_output, found.token_file) == (5, 1024**2, Path("/etc/loadtester/token"))
    assert pod["serviceAccountName"] == "load-loadtester"
    assert pod["automountServiceAccountToken"] is True
    assert (pod["priorityClassName"], pod["nodeSelector"], pod["tolerations"], own["env"]) == (
        "high",
        {"disk": "ssd"},
        [{"operator": "Exists"}],
        EVERYTHING["env"],
    )
    assert "podAntiAffinity" in pod["affinity"]
    assert own["resources"]["limits"] == {"memory": "1Gi"}
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    assert (
        set(volumes)
        == {mount["name"] for mount in own["volumeMounts"]}
        == {"scripts", "loadtester-tmp", "loadtester-state", "loadtester-token"}
    )
    assert volumes["loadtester-token"]["secret"] == {
        "secretName": "load-token",
        "defaultMode": 0o444,
        "items": [{"key": "value", "path": "token"}],
    }
    assert volumes["loadtester-state"]["persistentVolumeClaim"] == {"claimName": "load-loadtester"}
    claim = objects["PersistentVolumeClaim", "load-loadtester"]["spec"]
    assert claim == {"accessModes": ["ReadWriteMany"], "storageClassName": "fast", "resources": {"requests": {"storage": "1Gi"}}}
    assert objects["ServiceAccount", "load-loadtester"]["metadata"]["annotations"] == {"role": "load"}
    assert objects["ClusterRole", "load-loadtester"]["rules"] == EVERYTHING["rbac"]["rules"]
    assert objects["ClusterRoleBinding", "load-loadtester"]["roleRef"]["kind"] == "ClusterRole"
    assert objects["PodDisruptionBudget", "load-loadtester"]["spec"]["minAvailable"] == "50%"
    policy = objects["NetworkPolicy", "load-loadtester"]["spec"]
    assert (policy["policyTypes"], policy["ingress"][0]["ports"]) == (["Ingress"], [{"port": "http", "protocol": "TCP"}])
    (port,) = objects["Service", "load-loadtester"]["spec"]["ports"]
    assert (objects["Service", "load-loadtester"]["spec"]["type"], port["port"]) == ("NodePort", 8080)
    route = objects["VirtualService", "load-loadtester"]["spec"]
    assert (route["hosts"], route["http"][0]["route"][0]["destination"]["port"]["number"]) == (["load.example.com"], 8080)
    plain, secure = objects["Gateway", "load-loadtester"]["spec"]["servers"]
    assert (plain["tls"], secure["tls"]["credentialName"]) == ({"httpsRedirect": True}, "load-loadtester")
    assert {("ConfigMap", "scripts"), ("Secret", "load-extra")} <= set(objects)


def test_every_object_carries_the_recommended_labels(chart: Chart) -> None:
    for (kind, name), item in chart.render({**EVERYTHING, "extraDeploy": []}).items():
        labels = item["metadata"]["labels"]
        assert labels["app.kubernetes.io/name"] == "loadtester", (kind, name)
        assert labels["app.kubernetes.io/instance"] == "load"
        assert labels["app.kubernetes.io/managed-by"] == "Helm"
        assert labels["helm.sh/chart"].startswith("loadtester-")


def test_a_namespaced_role_is_the_default_scope(chart: Chart) -> None:
    objects = chart.render({"rbac": {"create": True, "rules": EVERYTHING["rbac"]["rules"]}})
    assert objects["Role", "load-loadtester"]["metadata"]["namespace"] == "prod"
    (subject,) = objects["RoleBinding", "load-loadtester"]["subjects"]
    assert subject == {"kind": "ServiceAccount", "name": "load-loadtester", "namespace": "prod"}


@pytest.mark.parametrize(
    ("values", "account", "mounted"),
    [
        ({}, None, False),
        ({"serviceAccountName": "mine"}, "mine", True),
        ({"rbac": {"create": True}}, "load-loadtester", True),
        ({"rbac": {"create": True}, "serviceAccountName": "mine"}, "mine", True),
        ({"automountServiceAccountToken": True}, None, True),
        ({"rbac": {"create": True}, "automountServiceAccountToken": False}, "load-loadtester", False),
    ],
)
def test_commands_get_api_rights_only_when_asked_for(chart: Chart, values: dict[str, Any], account: str | None, mounted: bool) -> None:
    pod = deployment(chart.render(values))["spec"]["template"]["spec"]
    assert (pod.get("serviceAccountName"), pod["automountServiceAccountToken"]) == (account, mounted)


@pytest.mark.parametrize(
    ("persistence", "strategy"),
    [
        ({"enabled": False}, {"type": "RollingUpdate"}),
        ({"enabled": True}, {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": "100%"}}),
        (
            {"enabled": True, "accessModes": ["ReadWriteOncePod"]},
            {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": "100%"}},
        ),
        ({"enabled": True, "accessModes": ["ReadWriteMany"]}, {"type": "RollingUpdate"}),
    ],
)
def test_a_volume_for_one_node_is_let_go_before_the_next_pod(chart: Chart, persistence: dict[str, Any], strategy: dict[str, Any]) -> None:
    assert deployment(chart.render({"persistence": persistence}))["spec"]["strategy"] == strategy


def test_an_existing_claim_is_used_and_none_is_made(chart: Chart) -> None:
    objects = chart.render({"persistence": {"enabled": True, "existingClaim": "mine"}})
    assert "PersistentVolumeClaim" not in {kind for kind, _ in objects}
    volumes = deployment(objects)["spec"]["template"]["spec"]["volumes"]
    assert {"name": "loadtester-state", "persistentVolumeClaim": {"claimName": "mine"}} in volumes


def test_a_tmp_volume_of_the_users_own_is_not_mounted_over(chart: Chart) -> None:
    objects = chart.render({"volumes": [{"name": "scratch", "emptyDir": {}}], "volumeMounts": [{"name": "scratch", "mountPath": "/tmp/"}]})
    mounts = [mount["mountPath"].rstrip("/") for mount in container(objects)["volumeMounts"]]
    assert mounts.count("/tmp") == 1
    assert "loadtester-tmp" not in [volume["name"] for volume in deployment(objects)["spec"]["template"]["spec"]["volumes"]]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"replicas": 2}, "replicas"),
        ({"cmd": {"timeOut": "1h"}}, "timeOut"),
        ({"cmd": {"timeout": "1 hour"}}, "cmd"),
        ({"cmd": {"allow": "hey"}}, "cmd"),
        ({"cmd": {"allow": ["hey,sh"]}}, "cmd"),
        ({"logLevel": "loud"}, "logLevel"),
        ({"service": {"port": 0}}, "port"),
        ({"image": {"pullPolicy": "Sometimes"}}, "pullPolicy"),
        ({"persistence": {"accessModes": []}}, "accessModes"),
        ({"podAnnotations": {"a": True}}, "podAnnotations"),
        ({"meshName": "global"}, "App Mesh is not supported"),
        ({"appmesh": {"enabled": True}}, "App Mesh is not supported"),
    ],
)
def test_a_wrong_value_is_refused_by_name(chart: Chart, values: dict[str, Any], words: str) -> None:
    assert words in chart.refusal(values)


def test_the_chart_works_below_a_parent_chart(chart: Chart) -> None:
    assert chart.render({"global": {"imageRegistry": "x"}})


def test_notes_say_where_it_is_and_what_is_open(chart: Chart) -> None:
    open_to_all = chart.notes()
    assert "http://load-loadtester.prod/gate/check" in open_to_all
    assert "WARNING: whoever can reach this Service" in open_to_all
    assert "replicas without a shared volume" not in open_to_all
    assert "WARNING: 2 replicas without a shared volume" in chart.notes({"replicaCount": 2})
    closed = chart.notes(
        {"fullnameOverride": "load-tester", "service": {"port": 9090}, "auth": {"existingSecret": "s"}, "persistence": {"enabled": True}}
    )
    assert "http://load-tester.prod:9090/" in closed
    assert "WARNING" not in closed
    assert "Gates are closed when" not in closed
