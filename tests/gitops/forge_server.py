"""Forges on the loopback, as they are documented: their paths, fields, status codes, pages and refusals, over one model of pull requests and statuses.

`fault` answers in the forge's place. Commits are made in a real repository, so that what a forge "signs" can be fetched.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer

from canary.gitops.forges.base import Forge
from canary.gitops.forges.client import Throttles
from canary.gitops.forges.registry import forge_for
from canary.sandbox.gitserver import GitServer

TOKEN = "s3cret-t0ken"
OWNER, REPO = "acme", "fleet"
PAGE = 2
"""Items of a page: few, so that lists have several."""
Reply = web.Response
Fault = Callable[[web.Request], web.StreamResponse | Any | None]


@dataclass
class Asked:
    """One pull request."""

    number: int
    head: str
    base: str
    title: str
    body: str
    state: str = "open"
    version: int = 0
    comments: list[str] = field(default_factory=list)
    fork: bool = False


@dataclass
class Line:
    """One status of one commit."""

    number: int
    sha: str
    context: str
    state: str
    description: str
    url: str


class Refused(Exception):  # noqa: N818 - reads as what happened
    """Answered in the dialect's way of saying no."""

    def __init__(self, status: int, text: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(text)
        self.status, self.text, self.headers = status, text, headers


class Model:
    """What a forge knows of one repository."""

    def __init__(self, git: GitServer | None = None, repo: str = REPO) -> None:
        self.git, self.repo = git, repo
        self.pulls: list[Asked] = []
        self.lines: list[Line] = []
        self.messages: list[str] = []
        self.requests: list[str] = []
        self.fault: Fault | None = None
        self.unknown: set[str] = set()
        """Commits that the forge has never seen."""
        self.protected: set[str] = set()

    def open(self, head: str, base: str, title: str, body: str) -> Asked:
        assert head
        assert base
        assert title
        if any(one.head == head and one.base == base and one.state == "open" and not one.fork for one in self.pulls):
            raise Refused(409, "duplicate")
        if self.git and not self.git._exists(self.repo, head):
            raise Refused(422, "head invalid")
        self.pulls.append(Asked(len(self.pulls) + 1, head, base, title, body))
        return self.pulls[-1]

    def pull(self, number: str | int) -> Asked:
        for one in self.pulls:
            if one.number == int(number):
                return one
        raise Refused(404, "Not Found")

    def post(self, sha: str, context: str, state: str, description: str, url: str, *, states: tuple[str, ...]) -> Line:
        if sha in self.unknown:
            raise Refused(404, "No commit found for SHA")
        assert state in states, state
        self.lines.append(Line(len(self.lines) + 1, sha, context, state, description, url))
        return self.lines[-1]

    def of(self, sha: str) -> list[Line]:
        return [line for line in reversed(self.lines) if line.sha == sha]

    def tip(self, branch: str) -> str:
        assert self.git
        return self.git.git(self.repo, "rev-parse", branch).strip()

    def blob(self, branch: str, path: str) -> str:
        assert self.git
        return self.git.git(self.repo, "rev-parse", "--verify", "-q", f"{branch}:{path}").strip()

    def touched(self, ref: str, path: str) -> str:
        assert self.git
        return self.git.git(self.repo, "log", "-1", "--format=%H", ref, "--", path).strip()

    def commit(self, branch: str, message: str, files: Mapping[str, str | None]) -> str:
        """`files`: base64 by path."""
        if branch in self.protected:
            raise Refused(403, "protected branch hook declined")
        assert self.git
        self.messages.append(message)
        content = {path: None if data is None else base64.b64decode(data) for path, data in files.items()}
        return self.git.write(self.repo, content, message=message, branch=branch)


def page(request: web.Request, items: list[Any], *, size: str = "per_page") -> Reply:
    """A page of a list, with the `Link` header that leads to the next."""
    number, limit = int(request.query.get("page", "1")), min(PAGE, int(request.query.get(size, "30")))
    chunk = items[(number - 1) * limit : number * limit]
    headers = {}
    if number * limit < len(items):
        following = request.url.update_query(page=str(number + 1))
        headers["Link"] = f'<{following}>; rel="next", <{request.url}>; rel="first"'
    return web.json_response(chunk, headers=headers)


Handler = Callable[[Model, web.Request, Any], Any]


class Dialect:
    """How one forge speaks. `routes`: (method, path) to handlers."""

    kind = ""
    web_path = f"/{OWNER}/{REPO}.git"
    api = ""
    authorization = f"Bearer {TOKEN}"
    secret: Mapping[str, str] = {"token": TOKEN}
    signs = False

    def __init__(self, model: Model) -> None:
        self.model = model

    def routes(self) -> list[tuple[str, str, Any]]:
        raise NotImplementedError

    def no(self, refused: Refused) -> Reply:
        """Its way of refusing."""
        return web.json_response({"message": refused.text}, status=refused.status, headers=refused.headers)

    def application(self) -> web.Application:
        @web.middleware
        async def around(request: web.Request, handler: Any) -> web.StreamResponse:
            self.model.requests.append(f"{request.method} {request.path_qs}")
            if self.model.fault:
                answer = self.model.fault(request)
                if hasattr(answer, "__await__"):
                    answer = await answer
                if answer is not None:
                    return answer
            if request.headers.get("Authorization") != self.authorization:
                return self.no(Refused(401, "Bad credentials"))
            assert "canary/" in request.headers["User-Agent"]
            try:
                return await handler(request)
            except Refused as refused:
                return self.no(refused)

        app = web.Application(middlewares=[around])
        for method, path, handler in self.routes():
            app.router.add_route(method, self.api + path, handler)
        return app


@contextlib.asynccontextmanager
async def serving(dialect: Dialect, *, patience: float = 5.0, throttles: Throttles | None = None, **options: Any) -> AsyncIterator[Forge]:
    """The forge behind this dialect."""
    server = TestServer(dialect.application())
    await server.start_server()
    host = f"http://127.0.0.1:{server.port}"
    secret = {key: value.encode() for key, value in dialect.secret.items()}
    known = {"api": host + dialect.api, "kind": dialect.kind, "secret": secret} | options
    forge = forge_for(host + dialect.web_path, patience=patience, throttles=throttles, **known)
    try:
        yield forge
    finally:
        await forge.close()
        await server.close()


def key(context: str) -> str:
    return hashlib.sha1(context.encode()).hexdigest()


async def json_of(request: web.Request) -> Any:
    assert request.headers["Content-Type"].startswith("application/json")
    return await request.json()
