"""The gates of rings over HTTP, for clusters whose operator asks a webhook: a stock Flagger's `confirm-rollout` and `rollback`, or ours.

    POST /confirm-rollout/<cluster>   200 go on, 403 wait, with the reason as text
    POST /rollback/<cluster>          200 go back, 403 do not
    GET  /rings                       everything as JSON
    GET  /healthz                     200 while Git is read, 503 when it has not been for too long

The operator's payload does not say in which cluster it is, so the path does (or `metadata.cluster`). What is not known is closed: a view that is too old
answers neither gate, and the rollback gate then lets runs go on. No credentials are taken: an answer changes nothing, and stock hooks have none.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Sequence
from typing import Any

from aiohttp import web

from canary.api.errors import InvalidObject
from canary.core.errors import CanaryError
from canary.gitops.failures import GitFailed, as_failure, plain
from canary.gitops.rings.decide import Decision, decide
from canary.gitops.rings.gate import Answer, abort, answer
from canary.gitops.rings.report import data
from canary.gitops.rings.session import Seen, Session

log = logging.getLogger(__name__)
MAX_BODY = 64 * 1024


class Gatehouse:
    """Reads a repository again and again, and answers from what it read last. `now` gives Unix seconds; `stale` is in seconds."""

    def __init__(self, session: Session, now: Callable[[], float], *, stale: float, write: bool = False) -> None:
        self._session, self._now, self._stale, self._write = session, now, stale, write
        self._seen: Sequence[Seen] = ()
        self._read_at = float("-inf")
        self.trouble = "Git has not been read yet"

    async def poll(self) -> None:
        """Read (and write) once; what goes wrong is told, and leaves what was read before to grow old."""
        at = self._now()
        try:
            self._seen = await (self._session.act(self._now) if self._write else self._session.look(self._now))
        except (GitFailed, CanaryError, InvalidObject, OSError) as error:
            self.trouble = as_failure(error).text
            log.warning("rings: %s", self.trouble)
        else:
            self._read_at, self.trouble = at, ""
            for done in (one for seen in self._seen for one in seen.done):
                log.info("rings: %s: %s", done.what, done.failure.text if done.failure else done.commit)

    async def keep_polling(self, interval: float) -> None:
        """Until cancelled."""
        while True:
            await self.poll()
            await asyncio.sleep(interval)

    @property
    def fresh(self) -> bool:
        """Whether what was read may still be answered from."""
        return self._now() - self._read_at <= self._stale

    def add_to(self, router: web.UrlDispatcher) -> None:
        """Register the paths."""
        for name, handler in (("confirm-rollout", self.confirm), ("rollback", self.rollback)):
            router.add_post(f"/{name}", handler)
            router.add_post(f"/{name}/{{cluster}}", handler)
        router.add_get("/rings", self.show)
        router.add_get("/healthz", self.health)

    async def confirm(self, request: web.Request) -> web.Response:
        """May the cluster begin?"""
        return await self._answer(request, lambda seen, decision, cluster, release: answer(
            seen.plan, seen.view, decision, cluster, now=self._now(), release=release
        ))  # fmt: skip

    async def rollback(self, request: web.Request) -> web.Response:
        """Must it go back?"""
        return await self._answer(request, lambda seen, decision, _, release: abort(seen.plan, seen.view, decision, release=release))

    async def show(self, _: web.Request) -> web.Response:
        """Every plan, as it is now."""
        return web.json_response({"fresh": self.fresh, "trouble": self.trouble or None, "plans": [data(one) for one in self._seen]})

    async def health(self, _: web.Request) -> web.Response:
        """For a probe."""
        return web.Response(text="ok") if self.fresh else web.Response(status=503, text=self.trouble or "Git was last read too long ago")

    async def _answer(self, request: web.Request, ask: Callable[[Seen, Decision, str, str], Answer]) -> web.Response:
        try:
            payload = _payload(await request.content.read(MAX_BODY))
        except ValueError as error:
            return web.Response(status=400, text=str(error))
        cluster = request.match_info.get("cluster") or payload["metadata"].get("cluster", "")
        if not cluster:
            return web.Response(status=400, text="name the cluster: in the path, or as metadata.cluster")
        if not self.fresh:
            return web.Response(status=503, text=f"closed: {self.trouble or 'Git was last read too long ago'}")
        for seen in self._seen:
            canary = seen.plan.spec.canary
            if (canary.namespace, canary.name) == (payload["namespace"], payload["name"]):
                decision = await asyncio.to_thread(decide, seen.plan, seen.view, self._now())
                found = ask(seen, decision, cluster, payload["metadata"].get("release", ""))
                log.info("rings: %s for %s: %s", request.path, plain(cluster)[:80], found.why)
                return web.Response(status=200 if found.open else 403, text=found.why)
        return web.Response(status=403, text=f"no plan is about {plain(payload['namespace'])[:80]}/{plain(payload['name'])[:80]}")


def _payload(body: bytes) -> dict[str, Any]:
    """The operator's payload. Raises ValueError that says what is wrong."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ValueError("the body is no JSON object with name and namespace") from error
    if not isinstance(found, dict) or not all(isinstance(found.get(key), str) for key in ("name", "namespace")):
        raise ValueError("the body is no JSON object with name and namespace")
    metadata = found.get("metadata") or {}
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise ValueError("metadata must be an object of texts")
    return {"name": found["name"], "namespace": found["namespace"], "metadata": metadata}
