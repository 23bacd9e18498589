"""The operator's chart as its tests render it, and the values that they render it with."""

from __future__ import annotations

import copy
import subprocess
from pathlib import Path
from typing import Any

from tests.charts.helm import Chart

# A helm built from source believes in Kubernetes 1.20 until it is told; the chart needs what 1.25 brought.
KUBE_VERSION = "1.36.0"
FULLNAME = "load-canary"

# Every value that Flagger's chart 1.44 has, at its default there, the image aside.
UPSTREAM_DEFAULTS: dict[str, Any] = {
    "image": {"pullPolicy": "IfNotPresent", "pullSecret": None},
    "logLevel": "info",
    "podAnnotations": {
        "prometheus.io/scrape": "true",
        "prometheus.io/port": "8080",
        "appmesh.k8s.aws/sidecarInjectorWebhook": "disabled",
        "linkerd.io/inject": "enabled",
    },
    "podPriorityClassName": "",
    "metricsServer": "http://prometheus:9090",
    "serviceMonitor": {"enabled": False, "honorLabels": False},
    "meshProvider": "",
    "namespace": "",
    "selectorLabels": "",
    "configTracking": {"enabled": True},
    "ingressAnnotationsPrefix": "",
    "ingressClass": "",
    "securityContext": {"enabled": True, "context": {"readOnlyRootFilesystem": True, "runAsUser": 10001}},
    "eventWebhook": "",
    "clusterName": "",
    "slack": {"user": "flagger", "channel": None, "url": None, "proxy": None},
    "msteams": {"url": None},
    "podMonitor": {"enabled": False, "namespace": None, "interval": "15s", "additionalLabels": {}, "honorLabels": False},
    "env": [],
    "leaderElection": {"enabled": False, "replicaCount": 1},
    "serviceAccount": {"create": True, "name": "", "annotations": {}},
    "rbac": {"create": True, "pspEnabled": False},
    "crd": {"create": False},
    "linkerdAuthPolicy": {"create": False, "namespace": "linkerd-viz"},
    "nameOverride": "",
    "fullnameOverride": "",
    "resources": {"limits": {"memory": "512Mi", "cpu": "1000m"}, "requests": {"memory": "32Mi", "cpu": "10m"}},
    "nodeSelector": {},
    "tolerations": [],
    "affinity": {
        "podAntiAffinity": {
            "preferredDuringSchedulingIgnoredDuringExecution": [
                {
                    "weight": 100,
                    "podAffinityTerm": {
                        "labelSelector": {
                            "matchLabels": {
                                "app.kubernetes.io/name": '{{ template "flagger.name" . }}',
                                "app.kubernetes.io/instance": "{{ .Release.Name }}",
                            }
                        },
                        "topologyKey": "kubernetes.io/hostname",
                    },
                }
            ]
        }
    },
    "prometheus": {
        "install": False,
        "image": "prometheus:v2.41.0",
        "pullSecret": None,
        "retention": "2h",
        "securityContext": {"enabled": False, "context": {"readOnlyRootFilesystem": True, "runAsUser": 10001}},
    },
    "kubeconfigQPS": "",
    "kubeconfigBurst": "",
    "controlplane": {"kubeconfig": {"secretName": "", "key": "kubeconfig"}},
    "podDisruptionBudget": {"enabled": False, "minAvailable": 1},
    "podLabels": {},
    "deploymentLabels": {},
    "noCrossNamespaceRefs": False,
    "additionalVolumes": [],
    "additionalVolumeMounts": [],
    # read by its templates, absent from its values
    "annotations": {},
    "includeLabelPrefix": "",
    "threadiness": 2,
}
DIGEST = "sha256:" + "ab" * 32
EVERYTHING: dict[str, Any] = {
    "image": {"repository": "mirror/canary", "tag": 1.5, "digest": DIGEST, "pullPolicy": "Always", "pullSecret": "pull"},
    "meshProvider": "gatewayapi:v1",
    "metricsServer": "https://prometheus.example.com/tenant",
    "logLevel": "debug",
    "logFormat": "text",
    "selectorLabels": "app,team",
    "includeLabelPrefix": "app.kubernetes.io,team",
    "configTracking": {"enabled": False},
    "ingressClass": "contour",
    "defaultGateway": "infra/public",
    "ingressAnnotationsPrefix": "custom.io",
    "noCrossNamespaceRefs": True,
    "clusterName": "north",
    "eventWebhook": "https://events.example.com/hook?a=b",
    "kubeconfigQPS": 50.5,
    "kubeconfigBurst": "90",
    "maxConcurrentTicks": 8,
    "slack": {
        "url": "https://slack.example.com/x",
        "proxyUrl": "http://proxy:3128",
        "user": "canary",
        "channel": "#releases",
        "existingSecret": "chat",
        "urlKey": "address",
    },
    "msteams": {"proxyUrl": "http://proxy:3129", "existingSecret": "teams"},
    "leaderElection": {"enabled": True, "replicaCount": 2},
    "serviceAccount": {"name": "robot", "annotations": {"role": "arn:1"}},
    "rbac": {
        "meshes": ["gatewayapi"],
        "keda": False,
        "keptn": False,
        "externalMetrics": False,
        "deliverers": ["flux"],
        "extraRules": [{"apiGroups": ["x.io"], "resources": ["ys"], "verbs": ["get"]}],
    },
    "podAnnotations": {"a": "b"},
    "podLabels": {"team": "core", "tier": 1, "app.kubernetes.io/name": "must-not-win"},
    "podPriorityClassName": "high",
    "annotations": {"reloader": "auto"},
    "deploymentLabels": {"cost": 42},
    "resources": {"limits": {"memory": "1Gi"}},
    "nodeSelector": {"disk": "ssd"},
    "tolerations": [{"operator": "Exists"}],
    "affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []}},
    "topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway"}],
    "podDisruptionBudget": {"enabled": True, "minAvailable": "50%"},
    "tmp": {"sizeLimit": "5Gi"},
    "env": [{"name": "HTTPS_PROXY", "value": "http://proxy"}],
    "extraEnv": [{"name": "NO_PROXY", "value": "10.0.0.0/8"}],
    "extraArgs": ["-host=0.0.0.0"],
    "additionalVolumes": [{"name": "ca", "configMap": {"name": "ca"}}],
    "additionalVolumeMounts": [{"name": "ca", "mountPath": "/ca", "readOnly": True}],
    "extraVolumes": [{"name": "known-hosts", "secret": {"secretName": "hosts"}}],
    "extraVolumeMounts": [{"name": "known-hosts", "mountPath": "/etc/hosts.d", "readOnly": True}],
    "networkPolicy": {
        "enabled": True,
        "from": [{"namespaceSelector": {"matchLabels": {"name": "monitoring"}}}],
        "egress": [{"to": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]}],
    },
    "podMonitor": {"enabled": True, "namespace": "monitoring", "interval": "5s", "additionalLabels": {"release": "p"}, "honorLabels": True},
    "serviceMonitor": {"enabled": True, "interval": "1m", "labels": {"release": "s"}, "honorLabels": True},
    "dashboards": {"enabled": True, "namespace": "monitoring", "annotations": {"grafana_folder": "Canary"}},
    "linkerdAuthPolicy": {"create": True, "namespace": "viz"},
    "extraDeploy": [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "beside"}},
        "apiVersion: v1\nkind: Secret\nmetadata:\n  name: {{ .Release.Name }}-extra\n",
    ],
}


class CanaryChart(Chart):
    """Renders `charts/canary`, as release `load` in namespace `prod`."""

    def __init__(self, home: Path) -> None:
        super().__init__("canary", home)

    def run(self, *arguments: str, values: dict[str, Any] | None = None) -> subprocess.CompletedProcess[str]:
        return super().run(*arguments, f"--kube-version={KUBE_VERSION}", values=values)

    def without_crds(self, values: dict[str, Any] | None = None, *, release: str = "load") -> dict[tuple[str, str], Any]:
        """All objects but the CustomResourceDefinitions."""
        return self.render(changed(values or {}, crds={"install": False}), release=release)


def changed(values: dict[str, Any], **more: dict[str, Any]) -> dict[str, Any]:
    """Values with some keys of some top-level maps replaced."""
    fresh = copy.deepcopy(values)
    for key, change in more.items():
        fresh[key] = {**fresh.get(key, {}), **change}
    return fresh


def deployment(objects: dict[tuple[str, str], Any]) -> dict[str, Any]:
    (found,) = (item for (kind, _), item in objects.items() if kind == "Deployment")
    return found


def container(objects: dict[tuple[str, str], Any]) -> dict[str, Any]:
    (found,) = deployment(objects)["spec"]["template"]["spec"]["containers"]
    return found
