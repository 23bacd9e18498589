"""`canary run`: Flagger's flags, understood as Flagger writes them.

An existing Deployment passes `-mesh-provider=istio`; what it passes keeps its meaning (upstream: `cmd/flagger/main.go`). Flags of upstream
without a counterpart here are accepted and do nothing, so that such a Deployment starts; one that would change what we do is refused.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any

import click

from canary import __version__
from canary.cli.goflags import GoFlags, boolean
from canary.core.errors import Rejected
from canary.core.release import Options
from canary.engine.logs import LEVELS
from canary.engine.settings import Settings, chat_from

CHAT = ("slack-url", "slack-token", "slack-proxy-url", "slack-channel", "slack-user", "msteams-url", "msteams-proxy-url")
FORMATS = {"json": "json", "console": "text", "text": "text"}
"""`-zap-encoding` in upstream's words and ours."""
IGNORED = ("threadiness", "control-loop-interval", "zap-replace-globals")
"""Flags of upstream without a counterpart here: there are no workers to count, no loop to pace, and one logger."""
KLOG = {
    **dict.fromkeys(("v", "vmodule", "stderrthreshold", "log_backtrace_at", "log_dir", "log_file", "log_file_max_size"), False),
    **dict.fromkeys(("logtostderr", "alsologtostderr", "add_dir_header", "one_output", "skip_headers", "skip_log_headers"), True),
}
"""Flags of the logging library in upstream's binary, and whether they are booleans: accepted, and dropped."""


@click.command(cls=GoFlags, dropped=KLOG)
@click.option("--kubeconfig", default="", help="Path of a kubeconfig; empty: KUBECONFIG, the in-cluster account, ~/.kube/config.")
@click.option("--context", default="", help="Context of the kubeconfig.")
@click.option("--master", default="", help="Address of the API server; overrides the kubeconfig's.")
@click.option(
    "--kubeconfig-service-mesh", default="", help="The same as --kubeconfig, or empty: the mesh's objects live in the same cluster."
)
@click.option("--kubeconfig-qps", default=0.0, help="Limit of API requests a second; 0: none.")
@click.option("--kubeconfig-burst", default=0, help="Burst above that limit.")
@click.option("--namespace", "-n", default="", help="Namespace to watch; empty: all.")
@click.option("--mesh-provider", default="istio", show_default=True, help="Where traffic is shifted unless spec.provider says otherwise.")
@click.option("--metrics-server", default="http://prometheus:9090", show_default=True, help="Prometheus of the built-in checks.")
@click.option("--selector-labels", default="app,name,app.kubernetes.io/name", show_default=True, help="Pod labels tried as selector.")
@click.option("--include-label-prefix", default="", help="Prefixes of labels copied to primaries, by comma; * is all.")
@boolean("enable-config-tracking", "Follow the ConfigMaps and Secrets of a target.", default=True)
@click.option("--ingress-annotations-prefix", default="nginx.ingress.kubernetes.io", show_default=True, help="Of the nginx router.")
@click.option("--default-gateway", default="", help="NAMESPACE/NAME of the Gateway for canaries on the Gateway API that name none.")
@click.option("--ingress-class", default="", help="ingressClassName of generated HTTPProxies.")
@boolean("no-cross-namespace-refs", "Refuse references to other namespaces.", default=False)
@click.option("--event-webhook", default="", help="URL that is told of every event. EVENT_WEBHOOK_URL wins.")
@click.option("--cluster-name", default="", help="Shown in alerts and in Git records.")
@boolean("enable-leader-election", "Run several replicas, one of which acts.", default=False)
@click.option("--leader-election-namespace", default="kube-system", show_default=True, help="Where the lease lives (--namespace wins).")
@click.option("--host", default="", help="Address of /healthz, /readyz and /metrics; empty: all.")
@click.option("--port", default=8080, show_default=True, help="Of /healthz, /readyz and /metrics.")
@click.option("--log-level", default="info", show_default=True, help="debug, info, warn or error.")
@click.option("--zap-encoding", "--log-format", "log_format", default="json", show_default=True, help="json or text (console).")
@click.option("--max-concurrent-ticks", default=64, show_default=True, help="How many canaries are looked at at the same time.")
@click.option("--slack-url", default="", help="Global chat: Slack webhook or API address. SLACK_URL wins.")
@click.option("--slack-token", default="", help="Slack bot token. SLACK_TOKEN wins, and is not seen in the list of processes.")
@click.option("--slack-proxy-url", default="", help="HTTP proxy for Slack. SLACK_PROXY_URL wins.")
@click.option("--slack-channel", default="", help="Slack channel.")
@click.option("--slack-user", default="flagger", show_default=True, help="Name that posts.")
@click.option("--msteams-url", default="", help="Global chat: Teams webhook; wins over Slack. MSTEAMS_URL wins.")
@click.option("--msteams-proxy-url", default="", help="HTTP proxy for Teams. MSTEAMS_PROXY_URL wins.")
@click.option("--threadiness", default="", hidden=True)
@click.option("--control-loop-interval", default="", hidden=True)
@boolean("zap-replace-globals", "", default=False, hidden=True)
@boolean("version", "Print the version and exit.", default=False)
def run(**flags: Any) -> None:
    """Start the operator against the current kubeconfig or the in-cluster account.

    Flags are written with one dash or two, as Flagger's are; a boolean alone means true.
    """
    if flags["version"]:
        click.echo(__version__)
        return
    settings = settings_from(flags, os.environ)
    from canary.engine.supervisor import run_operator
    from canary.routers.registry import router

    router(settings.mesh_provider)  # an unknown provider ends here, not at the first canary
    sys.exit(run_operator(settings))


def settings_from(flags: Mapping[str, Any], env: Mapping[str, str]) -> Settings:
    """Flags and environment as one value. Raises BadParameter, and Rejected for a second cluster."""
    _check(flags)
    return Settings(
        kubeconfig=flags["kubeconfig"],
        context=flags["context"],
        master=flags["master"],
        qps=flags["kubeconfig_qps"],
        burst=flags["kubeconfig_burst"],
        namespace=flags["namespace"],
        mesh_provider=flags["mesh_provider"] or "istio",
        metrics_server=flags["metrics_server"],
        options=_options(flags),
        no_cross_namespace_refs=flags["no_cross_namespace_refs"],
        event_webhook=env.get("EVENT_WEBHOOK_URL") or flags["event_webhook"],
        cluster_name=flags["cluster_name"],
        chat=chat_from({name: flags[name.replace("-", "_")] for name in CHAT}, env),
        leader_election=flags["enable_leader_election"],
        leader_election_namespace=flags["leader_election_namespace"],
        host=flags["host"],
        port=flags["port"],
        log_level=flags["log_level"],
        log_format=FORMATS[flags["log_format"]],
        max_concurrent_ticks=flags["max_concurrent_ticks"],
    )


def _options(flags: Mapping[str, Any]) -> Options:
    """What the rules need to know."""
    return Options(
        selector_labels=_names(flags["selector_labels"]) or Options().selector_labels,
        include_label_prefixes=_names(flags["include_label_prefix"]),
        config_tracking=flags["enable_config_tracking"],
        ingress_class=flags["ingress_class"],
        default_gateway=flags["default_gateway"],
        ingress_annotations_prefix=flags["ingress_annotations_prefix"],
    )


def _names(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _check(flags: Mapping[str, Any]) -> None:
    for flag, known in (("log_level", LEVELS), ("log_format", FORMATS)):
        if flags[flag] not in known:
            raise click.BadParameter(f"{flags[flag]!r} is not one of {', '.join(known)}", param_hint=f"--{flag.replace('_', '-')}")
    if flags["max_concurrent_ticks"] < 1:
        raise click.BadParameter("must be at least 1", param_hint="--max-concurrent-ticks")
    if not 0 <= flags["port"] <= 65535:
        raise click.BadParameter("must be between 0 and 65535", param_hint="--port")
    mesh = flags["kubeconfig_service_mesh"]
    if mesh and mesh != flags["kubeconfig"]:
        raise Rejected(
            "--kubeconfig-service-mesh names another kubeconfig: a mesh in another cluster is not supported",
            hint="leave it away, and run the operator in the cluster that has both the workloads and the mesh's objects",
        )
