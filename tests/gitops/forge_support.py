"""Sinks whose repository is on the Git server of the tests, and whose forge is one of the contract servers beside it."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer

from canary.kube.resource import CANARY_RUNS, GIT_SINKS, SECRETS, Object
from canary.sandbox.gitserver import GitServer
from tests.gitops.forge_dialects import GiteaDialect
from tests.gitops.forge_server import TOKEN, Dialect, Model
from tests.gitops.support import NAMESPACE, Api, Clock, effects, run, secret, sink, until

HEAD = "canary-revert/cluster-001/prod.podinfo"


@dataclass
class Scene:
    """An API, a repository at a forge, and a clock."""

    api: Api
    server: GitServer
    model: Model
    url: str
    forge: str
    kind: str
    clock: Clock
    tip: str
    """The commit that runs are started by."""

    @property
    def repo(self) -> str:
        return self.model.repo

    def sink(self, **spec: Any) -> None:
        """Add the sink `fleet`."""
        provider = {"type": self.kind, "api": self.forge, "secretRef": {"name": "forge"}} | spec.pop("provider", {})
        self.api.add(GIT_SINKS, sink(self.url, provider=provider, **spec))

    def change(self, **spec: Any) -> None:
        """Change the sink `fleet`."""
        self.api.change(GIT_SINKS, NAMESPACE, "fleet", {"spec": spec})

    def run(self, name: str = "r1", *kinds: str, source: dict[str, str] | None = None, **options: Any) -> None:
        """Add a run with these effects, started by the tip."""
        body = run(name, effects=tuple(f"{kind}/fleet" for kind in kinds), **options)
        body["spec"]["source"] = source or {"revision": self.tip, "via": "annotation"}
        self.api.add(CANARY_RUNS, body)

    def effect(self, kind: str, name: str = "r1") -> Object:
        return effects(self.api, name)[f"{kind}/fleet"]

    def said(self, kind: str, name: str = "r1") -> tuple[str, str]:
        """State and reason."""
        effect = self.effect(kind, name)
        return effect["state"], effect.get("reason", "")

    def condition(self) -> tuple[str, str]:
        """Status and reason of Ready."""
        status = self.api.stored(GIT_SINKS, NAMESPACE, "fleet").get("status") or {}
        return next(((one["status"], one["reason"]) for one in status.get("conditions", ()) if one["type"] == "Ready"), ("", ""))

    async def later(self, outbox: Any, seconds: float) -> None:
        """Time passes, once everybody rests."""
        await until(lambda: not outbox._tasks)
        self.clock.ahead += seconds
        outbox._wake.set()


@contextlib.asynccontextmanager
async def scene(server: GitServer, *, name: str = "one", dialect: type[Dialect] = GiteaDialect) -> AsyncIterator[Scene]:
    """A repository `acme/fleet` of its own, and its forge."""
    path = dialect.web_path.strip("/").removesuffix(".git")
    repo = path if name == "one" else f"{name}/{path}"
    shutil.copytree(server.root / "fleet.git", server.root / f"{repo}.git")
    model = Model(server, repo)
    made = dialect(model)
    app = made.application()
    listening = TestServer(app)
    await listening.start_server()
    api = Api()
    api.add(SECRETS, secret("forge", **made.secret))
    try:
        yield Scene(
            api,
            server,
            model,
            f"{server.url}/{repo}.git",
            f"http://127.0.0.1:{listening.port}{made.api}",
            made.kind,
            Clock(),
            model.tip("main"),
        )
    finally:
        await listening.close()
        api.assert_untouched()


def merge(one: Scene, number: int = 1) -> None:
    """As a person merges: the commit comes to the branch as it is."""
    pull = one.model.pull(number)
    one.server.git(one.repo, "update-ref", f"refs/heads/{pull.base}", pull.head)
    pull.state = "merged"


def down(_: web.Request) -> web.Response:
    """A forge that is not well."""
    return web.Response(status=502, text="bad gateway")


def unknown_token(_: web.Request) -> web.Response:
    """A forge that does not know our token."""
    return web.json_response({"message": f"token {TOKEN} is not known"}, status=401)
