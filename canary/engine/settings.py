"""Every knob of the operator, as one typed value; flags and environment meet here and nowhere else.

Names follow upstream's flags (reference 4.1), so that an existing Deployment's arguments work unchanged.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from canary.core.release import Options


@dataclass(frozen=True, slots=True, kw_only=True)
class GlobalChat:
    """The one chat that hears of canaries without alerts of their own (upstream's -slack-* and -msteams-*)."""

    type: str = ""
    """`slack`, `msteams`, or empty: no global chat."""
    url: str = ""
    token: str = ""
    proxy: str = ""
    channel: str = ""
    username: str = "flagger"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How this process runs. Times are seconds."""

    kubeconfig: str = ""
    """Path of a kubeconfig; empty: KUBECONFIG, then the in-cluster account, then the default file."""
    master: str = ""
    """Address of the API server, overriding the kubeconfig's."""
    context: str = ""
    qps: float = 0.0
    """Client-side limit of API requests a second; 0 is none, because at rest we send none."""
    burst: int = 0
    namespace: str = ""
    """Watch scope; empty is all namespaces."""
    mesh_provider: str = "istio"
    metrics_server: str = "http://prometheus:9090"
    options: Options = field(default_factory=Options)
    no_cross_namespace_refs: bool = False
    event_webhook: str = ""
    cluster_name: str = ""
    chat: GlobalChat = field(default_factory=GlobalChat)
    leader_election: bool = False
    leader_election_namespace: str = "kube-system"
    port: int = 8080
    host: str = ""
    """Address of the health and metrics server; empty: all."""
    log_level: str = "info"
    log_format: str = "json"
    max_concurrent_ticks: int = 64
    resync: float = 600.0
    """How often everything is looked at again without a reason, to mend what no watch told us."""
    git_dir: str = ""
    """Where mirrors of Git repositories are kept; empty: a temporary folder."""

    @property
    def lease_namespace(self) -> str:
        """Upstream: the watch namespace wins over the flag."""
        return self.namespace or self.leader_election_namespace


def chat_from(flags: Mapping[str, str], env: Mapping[str, str]) -> GlobalChat:
    """The global chat from flags and upstream's environment variables; Teams wins over Slack (reference 4.1)."""

    def value(flag: str) -> str:
        return env.get(flag.upper().replace("-", "_")) or flags.get(flag) or ""

    if url := value("msteams-url"):
        return GlobalChat(type="msteams", url=url, proxy=value("msteams-proxy-url"))
    if url := value("slack-url"):
        return GlobalChat(
            type="slack",
            url=url,
            token=value("slack-token"),
            proxy=value("slack-proxy-url"),
            channel=flags.get("slack-channel") or "",
            username=flags.get("slack-user") or "flagger",
        )
    return GlobalChat()
