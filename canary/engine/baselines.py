"""Makes and removes fresh baselines, and remembers what does not let it.

A fresh baseline is a yardstick: a quota or a policy that forbids it must neither fail a release nor keep ticks from rolling it back. So a refusal
ends no tick. It is remembered, and the rules see it at the next look as something that cannot be had; they then do without. What may pass by itself
(an API server that does not answer) ends the tick as ever, because everything else would end it too.

Rejected: a refusal in the status, which the rules alone write.
"""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Awaitable, Sequence
from dataclasses import replace

from canary.core import model
from canary.core.errors import Rejected
from canary.engine import settle
from canary.engine.logs import about
from canary.engine.observe import Sight
from canary.engine.scheduler import Key
from canary.kube.compare import Wanted
from canary.kube.ensure import ensure
from canary.kube.resource import DEPLOYMENTS
from canary.targets import services
from canary.targets.objects import owned

log = logging.getLogger(__name__)

REFUSED = "BaselineRefused"
"""Reason of an Unknown: the API server, or a policy, does not let us make or remove it."""


class Baselines:
    """Carries out the two effects. One for all canaries; what it remembers need not outlive the process, which would be refused again."""

    def __init__(self) -> None:
        self._refused: dict[Key, str] = {}
        self._unroutable: dict[Key, str] = {}
        self._named: dict[Key, float] = {}

    async def ensure(self, sight: Sight, run_id: str) -> None:
        """The Deployment and its Service. Raises Retryable."""
        await self._tried(sight, self._made(sight, run_id))

    async def remove(self, sight: Sight) -> None:
        """Neither of them, the Service in a later tick than the Deployment. Raises Retryable."""
        if self._still_named(sight):
            return
        await self._tried(sight, sight.target.remove_baseline(sight.cluster, sight.release))

    def routes(self, sight: Sight, routes: model.Routes) -> Sequence[Wanted]:
        """The mesh's objects with these routes; without a share of the baseline where the mesh cannot give it one. Raises Rejected otherwise."""
        release = sight.release
        try:
            return sight.router.wanted(release, sight.live, routes)
        except Rejected as error:
            if not routes.baseline:
                raise
            found = sight.router.wanted(release, sight.live, replace(routes, baseline=0))
            self._unroutable[release.namespace, release.name] = told(error)
            return found

    def seen(self, key: Key, snapshot: model.Snapshot) -> model.Snapshot:
        """The snapshot with what was refused, as long as that matters to the run under way. A run that begins tries anew."""
        run = snapshot.canary.status.run
        if run is None or run.outcome:
            self._unroutable.pop(key, None)
            return snapshot
        mine = isinstance(snapshot.baseline, model.Workload) and snapshot.baseline.revision == run.id
        problem = self._unroutable.get(key) or (None if mine else self._refused.get(key))
        if problem is None or isinstance(snapshot.baseline, model.Unknown):
            return snapshot
        return replace(snapshot, baseline=model.Unknown(REFUSED, problem))

    def _still_named(self, sight: Sight) -> bool:
        """Whether a proxy may know a route that names the Service. Without a Deployment there are no endpoints to care for, but there is the route."""
        release, cluster = sight.release, sight.cluster
        deployment = cluster.get(DEPLOYMENTS, release.namespace, release.baseline)
        if deployment is not None and owned(release, deployment):
            return False
        key, now = (release.namespace, release.name), time.monotonic()
        if any(
            f'"{release.apex_baseline}"' in json.dumps(body.get("spec"))
            for ref, body in sight.live.items()
            if body and ref.name == release.apex
        ):
            self._named[key] = now
        return now - self._named.get(key, -math.inf) < settle.SETTLE

    def forget(self, key: Key) -> None:
        """A canary that is gone."""
        self._named.pop(key, None)
        self._refused.pop(key, None)
        self._unroutable.pop(key, None)

    @staticmethod
    async def _made(sight: Sight, run_id: str) -> None:
        await sight.target.ensure_baseline(sight.cluster, sight.release, run_id=run_id)
        await ensure(sight.cluster, services.baseline(sight.cluster, sight.release))

    async def _tried(self, sight: Sight, work: Awaitable[None]) -> None:
        key = (sight.release.namespace, sight.release.name)
        try:
            await work
        except Rejected as error:
            text = told(error)
            if self._refused.get(key) != text:
                log.warning("fresh baseline: %s", text, extra=about(*key, reason=error.reason))
            self._refused[key] = text
        else:
            self._refused.pop(key, None)


def told(error: Rejected) -> str:
    """The refusal with its way out."""
    return f"{error.message}; {error.hint}" if error.hint else error.message
