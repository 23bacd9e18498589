"""`canary run`: Flagger's flags, understood as Flagger writes them.

An existing Deployment passes `-mesh-provider=istio`; Go's flag package takes one dash or two. click takes two, so single-dash
long options are rewritten before parsing; everything else about them is upstream's (reference 4.1).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

import click

from canary import __version__
from canary.core.release import Options
from canary.engine.settings import Settings, chat_from

IGNORED = ("threadiness", "control-loop-interval", "zap-replace-globals")
"""Flags of upstream without a counterpart here: there are no workers to count and no loop to pace."""

CHAT = ("slack-url", "slack-token", "slack-proxy-url", "slack-channel", "slack-user", "msteams-url", "msteams-proxy-url")


class GoFlags(click.Command):
    """Accepts `-flag=value` and `-flag value` besides `--flag`, as Go's flag package does."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, [f"-{arg}" if len(arg) > 2 and arg[0] == "-" != arg[1] else arg for arg in args])


def _booleans(ctx: click.Context, param: click.Parameter, value: str | bool) -> bool:  # noqa: ARG001, FBT001
    """Go's spelling of a boolean: the bare flag, or =true/=false."""
    if isinstance(value, bool):
        return value
    if value.lower() in {"", "1", "t", "true"}:
        return True
    if value.lower() in {"0", "f", "false"}:
        return False
    raise click.BadParameter(f"{value!r} is not a boolean; write true or false")


Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def _flag(name: str, text: str, *, default: bool) -> Decorator:
    return click.option(f"--{name}", default=default, is_flag=False, flag_value="true", callback=_booleans, help=text, type=str)


@click.command(cls=GoFlags)
@click.option("--kubeconfig", default="", help="Path of a kubeconfig; empty: KUBECONFIG, the in-cluster account, ~/.kube/config.")
@click.option("--context", default="", help="Context of the kubeconfig.")
@click.option("--master", default="", help="Address of the API server; overrides the kubeconfig's.")
@click.option("--kubeconfig-qps", default=0.0, help="Limit of API requests a second; 0: none.")
@click.option("--kubeconfig-burst", default=0, help="Burst above that limit.")
@click.option("--namespace", "-n", default="", help="Namespace to watch; empty: all.")
@click.option("--mesh-provider", default="istio", show_default=True, help="Where traffic is shifted unless spec.provider says otherwise.")
@click.option("--metrics-server", default="http://prometheus:9090", show_default=True, help="Prometheus of the built-in checks.")
@click.option("--selector-labels", default="app,name,app.kubernetes.io/name", show_default=True, help="Pod labels tried as selector.")
@click.option("--include-label-prefix", default="", help="Prefixes of labels copied to primaries, by comma; * is all.")
@_flag("enable-config-tracking", "Follow the ConfigMaps and Secrets of a target.", default=True)
@click.option("--ingress-annotations-prefix", default="nginx.ingress.kubernetes.io", show_default=True, help="Of the nginx router.")
@click.option("--default-gateway", default="", help="NAMESPACE/NAME of the Gateway for canaries on the Gateway API that name none.")
@click.option("--ingress-class", default="", help="ingressClassName of generated HTTPProxies.")
@_flag("no-cross-namespace-refs", "Refuse references to other namespaces.", default=False)
@click.option("--event-webhook", default="", help="URL that is told of every event.")
@click.option("--cluster-name", default="", help="Shown in alerts and in Git records.")
@_flag("enable-leader-election", "Run several replicas, one of which acts.", default=False)
@click.option("--leader-election-namespace", default="kube-system", show_default=True, help="Where the lease lives (--namespace wins).")
@click.option("--host", default="", help="Address of /healthz, /readyz and /metrics; empty: all.")
@click.option("--port", default=8080, show_default=True, help="Of /healthz, /readyz and /metrics.")
@click.option("--log-level", default="info", show_default=True, help="debug, info, warn or error.")
@click.option("--zap-encoding", "--log-format", "log_format", default="json", show_default=True, help="json or text (console).")
@click.option("--max-concurrent-ticks", default=64, show_default=True, help="How many canaries are looked at at the same time.")
@click.option("--slack-url", default="", help="Global chat: Slack webhook or API address.")
@click.option("--slack-token", default="", help="Slack bot token.")
@click.option("--slack-proxy-url", default="", help="HTTP proxy for Slack.")
@click.option("--slack-channel", default="", help="Slack channel.")
@click.option("--slack-user", default="flagger", show_default=True, help="Name that posts.")
@click.option("--msteams-url", default="", help="Global chat: Teams webhook; wins over Slack.")
@click.option("--msteams-proxy-url", default="", help="HTTP proxy for Teams.")
@click.option("--threadiness", default="", hidden=True)
@click.option("--control-loop-interval", default="", hidden=True)
@click.option("--zap-replace-globals", default="", is_flag=False, flag_value="true", hidden=True)
@_flag("version", "Print the version and exit.", default=False)
def run(**flags: Any) -> None:
    """Start the operator against the current kubeconfig or the in-cluster account."""
    if flags["version"]:
        click.echo(__version__)
        return
    from canary.engine.logs import LEVELS

    if flags["log_level"] not in LEVELS:
        raise click.BadParameter(f"unknown log level {flags['log_level']!r}; one of {', '.join(LEVELS)}", param_hint="--log-level")
    settings = settings_from(flags, dict(os.environ))
    from canary.engine.supervisor import run_operator

    sys.exit(run_operator(settings))


def settings_from(flags: dict[str, Any], env: dict[str, str]) -> Settings:
    """Flags and environment as one value."""

    def names(text: str) -> tuple[str, ...]:
        return tuple(part.strip() for part in text.split(",") if part.strip())

    return Settings(
        kubeconfig=flags["kubeconfig"],
        context=flags["context"],
        master=flags["master"],
        qps=flags["kubeconfig_qps"],
        burst=flags["kubeconfig_burst"],
        namespace=flags["namespace"],
        mesh_provider=flags["mesh_provider"] or "istio",
        metrics_server=flags["metrics_server"],
        options=Options(
            selector_labels=names(flags["selector_labels"]) or Options().selector_labels,
            include_label_prefixes=names(flags["include_label_prefix"]),
            config_tracking=flags["enable_config_tracking"],
            ingress_class=flags["ingress_class"],
            default_gateway=flags["default_gateway"],
            ingress_annotations_prefix=flags["ingress_annotations_prefix"],
        ),
        no_cross_namespace_refs=flags["no_cross_namespace_refs"],
        event_webhook=env.get("EVENT_WEBHOOK_URL") or flags["event_webhook"],
        cluster_name=flags["cluster_name"],
        chat=chat_from({name: flags[name.replace("-", "_")] for name in CHAT}, env),
        leader_election=flags["enable_leader_election"],
        leader_election_namespace=flags["leader_election_namespace"],
        host=flags["host"],
        port=flags["port"],
        log_level=flags["log_level"],
        log_format="text" if flags["log_format"] in {"text", "console"} else "json",
        max_concurrent_ticks=flags["max_concurrent_ticks"],
    )
