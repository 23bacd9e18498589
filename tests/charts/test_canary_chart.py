"""The operator's chart: what it installs by default, what each value changes, which values it refuses."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from canary import __version__
from canary.cli.run import run, settings_from
from canary.core.release import Options
from canary.engine.settings import GlobalChat, Settings
from tests.charts.canary_chart import DIGEST, EVERYTHING, FULLNAME, UPSTREAM_DEFAULTS, CanaryChart, changed, container, deployment
from tests.charts.helm import ROOT
from tests.testbed.documents import document

pytestmark = pytest.mark.slow

every_set = pytest.mark.parametrize("values", [{}, UPSTREAM_DEFAULTS, EVERYTHING], ids=["defaults", "upstream", "everything"])


@pytest.fixture(scope="module")
def chart(tmp_path_factory: pytest.TempPathFactory) -> CanaryChart:
    return CanaryChart(tmp_path_factory.mktemp("helm"))


def settings(objects: dict[tuple[str, str], Any], env: dict[str, str] | None = None) -> Settings:
    """The flags as the program itself reads them."""
    command, *flags = container(objects)["args"]
    assert command == "run"
    return settings_from(run.make_context("run", flags).params, env or {})


@every_set
def test_the_chart_is_free_of_lint(chart: CanaryChart, values: dict[str, Any]) -> None:
    found = chart.run("lint", "--strict", str(chart.directory), values=values)
    assert found.returncode == 0, found.stdout + found.stderr
    assert "WARNING" not in found.stdout


def test_by_default_there_is_an_operator_with_its_rights_and_nothing_else(chart: CanaryChart) -> None:
    assert set(chart.without_crds()) == {
        ("Deployment", FULLNAME),
        ("ServiceAccount", FULLNAME),
        ("ClusterRole", FULLNAME),
        ("ClusterRoleBinding", FULLNAME),
        ("ClusterRole", f"{FULLNAME}-view"),
        ("ClusterRole", f"{FULLNAME}-edit"),
    }


def test_by_default_the_program_runs_with_flaggers_defaults(chart: CanaryChart) -> None:
    assert settings(chart.without_crds()) == Settings()
    assert settings(chart.without_crds(UPSTREAM_DEFAULTS)) == Settings()


def test_every_value_reaches_the_program(chart: CanaryChart) -> None:
    secrets = {"SLACK_URL": "https://from.secret", "SLACK_TOKEN": "xoxb", "MSTEAMS_URL": ""}
    found = settings(chart.without_crds({**EVERYTHING, "namespace": "apps"}), secrets)
    assert found == Settings(
        qps=50.5,
        burst=90,
        namespace="apps",
        mesh_provider="gatewayapi:v1",
        metrics_server="https://prometheus.example.com/tenant",
        options=Options(
            selector_labels=("app", "team"),
            include_label_prefixes=("app.kubernetes.io", "team"),
            config_tracking=False,
            ingress_class="contour",
            default_gateway="infra/public",
            ingress_annotations_prefix="custom.io",
        ),
        no_cross_namespace_refs=True,
        event_webhook="https://events.example.com/hook?a=b",
        cluster_name="north",
        chat=GlobalChat(
            type="slack", url="https://from.secret", token="xoxb", proxy="http://proxy:3128", channel="#releases", username="canary"
        ),
        leader_election=True,
        leader_election_namespace="prod",
        host="0.0.0.0",
        log_level="debug",
        log_format="text",
        max_concurrent_ticks=8,
    )


def test_every_flag_has_a_value_or_a_reason_to_have_none(chart: CanaryChart) -> None:
    used = {re.split("[= ]", flag)[0].lstrip("-") for flag in container(chart.without_crds({**EVERYTHING, "namespace": "x"}))["args"][1:]}
    used |= {re.split("[= ]", flag)[0].lstrip("-") for flag in container(chart.without_crds({"msteams": {"url": "https://x"}}))["args"][1:]}
    argued = {
        "kubeconfig", "kubeconfig-service-mesh", "context", "master",  # a pod uses its account
        "slack-token",  # a secret: only through slack.existingSecret or env
        "version", "threadiness", "control-loop-interval", "zap-replace-globals",  # do nothing to a running operator
    }  # fmt: skip
    flags = {option.lstrip("-") for parameter in run.params for option in parameter.opts}
    assert flags - used - argued - {"n", "zap-encoding"} == set(), "give it a value in charts/canary, or argue here why not"


def test_the_older_name_of_slacks_proxy_works(chart: CanaryChart) -> None:
    chat = settings(chart.without_crds({"slack": {"url": "https://x", "proxy": "http://old"}})).chat
    assert chat.proxy == "http://old"


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ({}, f"canary-operator:{__version__}"),
        ({"tag": "2.0"}, "canary-operator:2.0"),
        ({"tag": 2}, "canary-operator:2"),
        ({"tag": "2.0", "digest": DIGEST}, f"canary-operator@{DIGEST}"),
        ({"repository": "registry:5000/team/canary", "digest": DIGEST}, f"registry:5000/team/canary@{DIGEST}"),
    ],
)
def test_a_digest_wins_over_a_tag_and_a_tag_over_the_charts_version(chart: CanaryChart, image: dict[str, Any], expected: str) -> None:
    assert container(chart.without_crds({"image": image}))["image"] == expected


def test_every_value_reaches_its_object(chart: CanaryChart) -> None:
    objects = chart.without_crds(EVERYTHING)
    whole, own = deployment(objects), container(objects)
    spec, pod = whole["spec"], whole["spec"]["template"]["spec"]
    assert (own["image"], own["imagePullPolicy"], pod["imagePullSecrets"]) == (f"mirror/canary@{DIGEST}", "Always", [{"name": "pull"}])
    assert (whole["metadata"]["annotations"], whole["metadata"]["labels"]["cost"]) == ({"reloader": "auto"}, "42")
    labels = spec["template"]["metadata"]["labels"]
    assert (labels["team"], labels["tier"], labels["app.kubernetes.io/name"]) == ("core", "1", "canary")
    assert spec["template"]["metadata"]["annotations"]["a"] == "b"
    assert (pod["serviceAccountName"], pod["priorityClassName"], pod["nodeSelector"]) == ("robot", "high", {"disk": "ssd"})
    assert (pod["tolerations"], pod["topologySpreadConstraints"]) == (EVERYTHING["tolerations"], EVERYTHING["topologySpreadConstraints"])
    assert set(pod["affinity"]) == {"nodeAffinity", "podAntiAffinity"}
    assert own["resources"]["limits"]["memory"] == "1Gi"
    plain = {entry["name"]: entry["value"] for entry in own["env"] if "value" in entry}
    assert plain == {"HTTPS_PROXY": "http://proxy", "NO_PROXY": "10.0.0.0/8"}
    volumes = {volume["name"] for volume in pod["volumes"]}
    assert volumes == {mount["name"] for mount in own["volumeMounts"]} == {"ca", "known-hosts", "canary-tmp"}
    assert objects["ServiceAccount", "robot"]["metadata"]["annotations"] == {"role": "arn:1"}
    assert objects["PodDisruptionBudget", FULLNAME]["spec"]["minAvailable"] == "50%"
    assert {("ConfigMap", "beside"), ("Secret", "load-extra")} <= set(objects)


def test_chat_secrets_come_from_a_secret_and_may_be_incomplete(chart: CanaryChart) -> None:
    refs = {
        entry["name"]: entry["valueFrom"]["secretKeyRef"]
        for entry in container(chart.without_crds(EVERYTHING))["env"]
        if "valueFrom" in entry
    }
    assert refs == {
        "SLACK_URL": {"name": "chat", "key": "address", "optional": True},
        "SLACK_TOKEN": {"name": "chat", "key": "token", "optional": True},
        "MSTEAMS_URL": {"name": "teams", "key": "url", "optional": True},
    }


def test_the_pod_is_of_the_restricted_standard_and_writes_to_tmp_alone(chart: CanaryChart) -> None:
    objects = chart.without_crds()
    pod, own = deployment(objects)["spec"]["template"]["spec"], container(objects)["securityContext"]
    assert (pod["securityContext"]["runAsNonRoot"], pod["securityContext"]["seccompProfile"]) == (True, {"type": "RuntimeDefault"})
    assert (own["allowPrivilegeEscalation"], own["capabilities"], own["readOnlyRootFilesystem"]) == (False, {"drop": ["ALL"]}, True)
    assert (own["runAsNonRoot"], own["runAsUser"], own["runAsGroup"]) == (True, 65532, 65532)
    assert pod["volumes"] == [{"name": "canary-tmp", "emptyDir": {"sizeLimit": "1Gi"}}]
    assert container(objects)["volumeMounts"] == [{"name": "canary-tmp", "mountPath": "/tmp"}]
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)


def test_a_tmp_volume_of_the_users_own_is_not_mounted_over(chart: CanaryChart) -> None:
    own = {"additionalVolumes": [{"name": "tmpfs", "emptyDir": {}}], "additionalVolumeMounts": [{"name": "tmpfs", "mountPath": "/tmp/"}]}
    objects = chart.without_crds(own)
    assert [mount["mountPath"] for mount in container(objects)["volumeMounts"]] == ["/tmp/"]
    assert [volume["name"] for volume in deployment(objects)["spec"]["template"]["spec"]["volumes"]] == ["tmpfs"]


def test_probes_need_no_program_in_the_image(chart: CanaryChart) -> None:
    own = container(chart.without_crds())
    assert own["livenessProbe"]["httpGet"] == {"path": "/healthz", "port": "http"}
    assert own["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "http"}
    assert own["ports"] == [{"name": "http", "containerPort": Settings().port, "protocol": "TCP"}]
    assert "command" not in own


def test_two_operators_never_act_at_once(chart: CanaryChart) -> None:
    alone = chart.without_crds()
    assert deployment(alone)["spec"]["strategy"] == {"type": "Recreate"}
    elected = {"leaderElection": {"enabled": True, "replicaCount": 2}}
    pair = chart.without_crds(elected)
    assert (deployment(pair)["spec"]["replicas"], deployment(pair)["spec"]["strategy"]["type"]) == (2, "RollingUpdate")
    assert settings(pair).lease_namespace == "prod" == pair["Role", f"{FULLNAME}-leader-election"]["metadata"]["namespace"]
    inside = chart.without_crds({**elected, "namespace": "apps"})
    assert settings(inside).lease_namespace == "apps" == inside["Role", f"{FULLNAME}-leader-election"]["metadata"]["namespace"]
    assert "leaderElection.enabled" in chart.refusal({"leaderElection": {"replicaCount": 2}})


def test_replicas_stay_apart_by_their_own_labels(chart: CanaryChart) -> None:
    for values in ({}, UPSTREAM_DEFAULTS):
        objects = chart.without_crds(values)
        affinity = deployment(objects)["spec"]["template"]["spec"]["affinity"]["podAntiAffinity"]
        (term,) = affinity["preferredDuringSchedulingIgnoredDuringExecution"]
        assert term["podAffinityTerm"]["labelSelector"]["matchLabels"] == deployment(objects)["spec"]["selector"]["matchLabels"]


def test_a_release_of_flaggers_chart_keeps_its_names_and_selector(chart: CanaryChart) -> None:
    objects = chart.without_crds(changed({"nameOverride": "flagger"}), release="flagger")
    assert {("Deployment", "flagger"), ("ServiceAccount", "flagger"), ("ClusterRole", "flagger"), ("ClusterRoleBinding", "flagger")} <= set(
        objects
    )
    selector = {"app.kubernetes.io/name": "flagger", "app.kubernetes.io/instance": "flagger"}
    assert deployment(objects)["spec"]["selector"] == {"matchLabels": selector}
    assert selector.items() <= deployment(objects)["spec"]["template"]["metadata"]["labels"].items()


def test_the_policy_lets_scrapers_in_and_limits_what_is_reached_only_when_asked(chart: CanaryChart) -> None:
    open_ = chart.without_crds({"networkPolicy": {"enabled": True}})["NetworkPolicy", FULLNAME]["spec"]
    assert (open_["policyTypes"], open_["ingress"]) == (["Ingress"], [{"ports": [{"port": "http", "protocol": "TCP"}]}])
    closed = chart.without_crds(EVERYTHING)["NetworkPolicy", FULLNAME]["spec"]
    assert closed["policyTypes"] == ["Ingress", "Egress"]
    assert closed["ingress"][0]["from"] == EVERYTHING["networkPolicy"]["from"]
    dns, *rest = closed["egress"]
    assert ([(port["port"], port["protocol"]) for port in dns["ports"]], rest) == (
        [(53, "UDP"), (53, "TCP")],
        EVERYTHING["networkPolicy"]["egress"],
    )


def test_monitors_find_the_pod_and_keep_labels_when_asked(chart: CanaryChart) -> None:
    objects = chart.without_crds(EVERYTHING)
    labels = deployment(objects)["spec"]["template"]["metadata"]["labels"]
    pod, service = objects["PodMonitor", FULLNAME], objects["ServiceMonitor", FULLNAME]
    assert (pod["metadata"]["namespace"], service["metadata"]["namespace"]) == ("monitoring", "prod")
    assert (pod["metadata"]["labels"]["release"], service["metadata"]["labels"]["release"]) == ("p", "s")
    (scrape,), (endpoint,) = pod["spec"]["podMetricsEndpoints"], service["spec"]["endpoints"]
    assert (scrape["interval"], scrape["honorLabels"], endpoint["interval"], endpoint["honorLabels"]) == ("5s", True, "1m", True)
    assert pod["spec"]["selector"]["matchLabels"].items() <= labels.items()
    target = objects["Service", FULLNAME]
    assert service["spec"]["selector"]["matchLabels"].items() <= target["metadata"]["labels"].items()
    assert target["spec"]["selector"].items() <= labels.items()
    for monitor in (pod, service):
        assert monitor["spec"]["namespaceSelector"] == {"matchNames": ["prod"]}
    assert not {"Service", "ServiceMonitor", "PodMonitor"} & {kind for kind, _ in chart.without_crds()}


def test_dashboards_are_found_by_grafanas_sidecar(chart: CanaryChart) -> None:
    found = chart.without_crds(EVERYTHING)["ConfigMap", f"{FULLNAME}-dashboards"]
    assert (found["metadata"]["namespace"], found["metadata"]["labels"]["grafana_dashboard"]) == ("monitoring", "1")
    assert found["metadata"]["annotations"] == {"grafana_folder": "Canary"}
    assert found["data"] == {path.name: path.read_text() for path in (ROOT / "dashboards").glob("*.json")}


def test_linkerds_prometheus_may_be_asked_by_this_account(chart: CanaryChart) -> None:
    policy = chart.without_crds(EVERYTHING)["AuthorizationPolicy", f"{FULLNAME}-prometheus"]
    assert policy["metadata"]["namespace"] == "viz"
    assert policy["spec"]["requiredAuthenticationRefs"] == [{"kind": "ServiceAccount", "name": "robot", "namespace": "prod"}]


@every_set
def test_every_object_carries_the_recommended_labels(chart: CanaryChart, values: dict[str, Any]) -> None:
    for (kind, name), item in chart.render({**values, "extraDeploy": []}).items():
        labels = item["metadata"]["labels"]
        assert labels["app.kubernetes.io/name"] == "canary", (kind, name)
        assert labels["app.kubernetes.io/instance"] == "load"
        assert labels["app.kubernetes.io/version"] == __version__
        assert labels["app.kubernetes.io/managed-by"] == "Helm"
        assert labels["helm.sh/chart"].startswith("canary-")


def test_rendering_twice_gives_the_same_bytes(chart: CanaryChart) -> None:
    first, second = (chart.run("template", "load", str(chart.directory), values=EVERYTHING).stdout for _ in range(2))
    assert first
    assert first == second
    for path in (chart.directory / "templates").iterdir():
        assert not re.search(r"\b(rand\w+|lookup|now|genCA|genSigned\w+|uuidv4|htpasswd)\b", path.read_text()), path


def test_no_value_is_missing_from_the_schema_or_the_defaults(chart: CanaryChart) -> None:
    schema = document((chart.directory / "values.schema.json").read_text())
    defaults = document((chart.directory / "values.yaml").read_text())
    assert set(schema["properties"]) - {"global"} == set(defaults)
    for name, part in schema["properties"].items():
        if part.get("properties") and name != "prometheus":  # of which only the switch means anything
            assert part["additionalProperties"] is False, name
            assert set(part["properties"]) == set(defaults[name]), name


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"meshprovider": "istio"}, "meshprovider"),
        ({"slack": {"URL": "https://x"}}, "URL"),
        ({"leaderElection": {"replicas": 2}}, "replicas"),
        ({"crds": {"instal": False}}, "instal"),
        ({"podMonitor": {"enable": True}}, "enable"),
        ({"rbac": {"meshes": ["linkerd"]}}, "meshes"),
        ({"rbac": {"scope": "pod"}}, "scope"),
        ({"logLevel": "loud"}, "logLevel"),
        ({"metricsServer": "prometheus:9090"}, "metricsServer"),
        ({"namespace": "a,b"}, "namespace"),
        ({"defaultGateway": "public"}, "defaultGateway"),
        ({"image": {"digest": "abc"}}, "digest"),
        ({"image": {"pullPolicy": "Sometimes"}}, "pullPolicy"),
        ({"kubeconfigBurst": "many"}, "kubeconfigBurst"),
        ({"podAnnotations": {"a": True}}, "podAnnotations"),
        ({"tmp": {"sizeLimit": "big"}}, "sizeLimit"),
        ({"image": {"repository": "ghcr.io/fluxcd/flagger"}}, "Flagger's own image"),
        ({"prometheus": {"install": True}}, "set metricsServer"),
        ({"controlplane": {"kubeconfig": {"secretName": "mesh"}}}, "needs an operator there"),
        ({"rbac": {"scope": "namespaces"}}, "set namespace"),
        ({"meshProvider": "gatewayapi:v1", "rbac": {"meshes": ["istio"]}}, "does not list gatewayapi"),
    ],
)
def test_a_wrong_value_is_refused_by_name(chart: CanaryChart, values: dict[str, Any], words: str) -> None:
    assert words in chart.refusal(values)


def test_the_chart_works_below_a_parent_chart(chart: CanaryChart) -> None:
    assert chart.render({"global": {"imageRegistry": "x"}})


def test_a_cluster_that_is_too_old_is_refused(chart: CanaryChart) -> None:
    found = super(CanaryChart, chart).run("template", "load", str(chart.directory), "--kube-version=1.24.0", values={})
    assert found.returncode != 0
    assert ">=1.25" in found.stderr


def test_notes_give_the_next_commands_and_warn_of_what_will_not_work(chart: CanaryChart) -> None:
    plain = chart.notes()
    for command in (
        f"kubectl -n prod rollout status deployment/{FULLNAME}",
        "kubectl get canaries --all-namespaces",
        "kubectl describe canaryruns --all-namespaces",
    ):
        assert command in plain
    assert "WARNING" not in plain
    assert "kubectl get canaries -n apps" in chart.notes({"namespace": "apps"})
    assert "WARNING: meshProvider nginx" in chart.notes({"meshProvider": "nginx"})
    assert "WARNING: a podDisruptionBudget with one replica" in chart.notes({"podDisruptionBudget": {"enabled": True}})
    assert "Install and upgrade them yourself" in chart.notes({"crds": {"install": False}})


def test_the_packaged_chart_holds_no_stray_file(chart: CanaryChart, tmp_path: Path) -> None:
    found = super(CanaryChart, chart).run("package", str(chart.directory), "--destination", str(tmp_path))
    assert found.returncode == 0, found.stderr
    (package,) = tmp_path.iterdir()
    assert package.stat().st_size < 300_000  # a release, with the chart inside, must fit into a Secret of 1 MiB
