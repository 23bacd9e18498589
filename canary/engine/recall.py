"""What is remembered of a revision that may be about to begin: whether it was rejected before and taken back in Git."""

from __future__ import annotations

from canary.api.canary import Canary
from canary.api.canaryrun import ReleaseInfo
from canary.api.status import Phase
from canary.core.hashing import configs_hash
from canary.core.model import Unknown
from canary.gitops.rejections import rejection
from canary.kube.cluster import Cluster
from canary.targets.base import Observed

_AT_REST = frozenset({Phase.INITIALIZED, Phase.SUCCEEDED, Phase.FAILED, Phase.WAITING, Phase.TERMINATING, Phase.TERMINATED})


def recall(cluster: Cluster, canary: Canary, seen: Observed, *, now: float) -> str:
    """Why the target's revision is not tried; empty: nothing stands against it. Reads memory, and only where a run may begin."""
    status = canary.status
    if status.phase not in _AT_REST or isinstance(seen.target, Unknown) or isinstance(seen.configs, Unknown):
        return ""
    configs = configs_hash(seen.configs)
    if seen.target.revision == status.last_promoted_spec and configs == configs_hash(status.last_promoted_configs):
        return ""
    release = ReleaseInfo(images=dict(seen.target.images), template_hash=seen.target.revision, config_hash=configs)
    return rejection(cluster, canary, release, now=now)
