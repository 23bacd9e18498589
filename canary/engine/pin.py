"""With which version a primary begins: that of the template, or the one that Git says was promoted last."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from canary.api.canary import Canary
from canary.api.gitsink import GitSink
from canary.api.status import Phase
from canary.core.hashing import revision_of
from canary.core.model import Unknown
from canary.core.pin import Pin
from canary.gitops.promotions import Said, versions
from canary.kube.cluster import Cluster
from canary.targets.base import Observed, Target
from canary.targets.pod_template import with_images


class Memory(Protocol):
    """What remembers promotions."""

    def wanted(self, canary: Canary) -> GitSink | None:
        """Who wants it to be asked for this canary."""
        ...

    async def of(self, sink: GitSink, canary: str) -> Said:
        """What was promoted last; answers within seconds, whatever Git does."""
        ...


async def pin_of(memory: Memory | None, cluster: Cluster, canary: Canary, target: Target, seen: Observed) -> Pin | None:
    """What the rules are told; None where nobody wants a primary to begin with anything but the template. Asks only before there is a primary."""
    status = canary.status
    if memory is None or status.phase not in (Phase.NONE, Phase.INITIALIZING) or (sink := memory.wanted(canary)) is None:
        return None
    if seen.primary is not None or isinstance(seen.target, Unknown) or (status.last_applied_spec and not status.pinned_images):
        return Pin()
    ref = canary.spec.target_ref
    resource = next((one for one in target.resources() if one.kind == ref.kind), None)
    workload = cluster.get(resource, canary.metadata.namespace, ref.name) if resource else None
    if workload is None:
        return Pin()
    images: Mapping[str, str] = status.pinned_images  # decided, and Git is not needed any more; the template may have changed since
    if not images:
        said = await memory.of(sink, canary.metadata.name)
        images, problem = versions(said.images, seen.target.images)
        if said.error or problem or not images:
            return Pin(error=said.error or problem)
    return Pin(images, revision_of(with_images(workload["spec"]["template"], images)))
