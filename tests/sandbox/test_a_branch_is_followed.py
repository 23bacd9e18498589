"""The sandbox's GitOps engine: every commit is applied, and a look that finds nothing new costs one request."""

from __future__ import annotations

import pytest

from canary.core.errors import Retryable
from canary.sandbox.gitserver import GitServer
from canary.sandbox.gitsync import GitSync

MAP = "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: app, namespace: demo}}\ndata: {{version: '{0}'}}\n"
LOOK = "GET /fleet.git/info/refs?service=git-upload-pack"


class Applier:
    """Remembers what was applied."""

    def __init__(self):
        self.versions = []

    async def apply(self, resource, body, *, force=True, manager):
        self.versions.append(body["data"]["version"])
        return body


@pytest.fixture
def server(tmp_path):
    server = GitServer(tmp_path / "git")
    server.start()
    server.create("fleet", {"app.yaml": MAP.format(1)})
    yield server
    server.stop()


@pytest.fixture
def applier():
    return Applier()


@pytest.fixture
def sync(server, applier, tmp_path):
    return GitSync(f"{server.url}/fleet.git", tmp_path, applier)


async def test_each_commit_is_applied_once_and_a_look_without_news_asks_nothing_more(server, applier, sync):
    first = await sync.sync()
    server.requests.clear()
    assert (await sync.sync(), await sync.sync()) == (first, first)
    assert server.requests == [LOOK, LOOK]
    assert applier.versions == ["1"]
    second = server.write("fleet", {"app.yaml": MAP.format(2)}, message="2")
    assert await sync.sync() == second == sync.applied
    assert applier.versions == ["1", "2"]


async def test_only_its_own_branch_is_news(server, applier, tmp_path):
    for branch in ("early", "early-adopters"):
        server.git("fleet", "branch", branch, "main")
    sync = GitSync(f"{server.url}/fleet.git", tmp_path, applier, branch="early")
    first = await sync.sync()
    for number, branch in enumerate(("main", "early-adopters"), 2):
        server.write("fleet", {"app.yaml": MAP.format(number)}, message="other", branch=branch)
    server.requests.clear()
    assert await sync.sync() == first
    assert server.requests == [LOOK]
    moved = server.write("fleet", {"app.yaml": MAP.format(9)}, message="9", branch="early")
    assert await sync.sync() == moved
    assert applier.versions == ["1", "9"]


async def test_a_branch_or_a_server_that_is_gone_is_said_in_gits_words(server, sync):
    await sync.sync()
    server.git("fleet", "symbolic-ref", "HEAD", "refs/heads/other")
    server.git("fleet", "update-ref", "-d", "refs/heads/main")
    with pytest.raises(Retryable, match="couldn't find remote ref main"):
        await sync.sync()
    server.stop()
    with pytest.raises(Retryable, match="unable to access"):
        await sync.sync()


async def test_credentials_of_the_url_are_used_for_looks_too(tmp_path, applier):
    server = GitServer(tmp_path / "git", user=("ada", "s3cret"))
    server.start()
    try:
        url = server.create("fleet", {"app.yaml": MAP.format(1)}).replace("://", "://ada:s3cret@")
        sync = GitSync(url, tmp_path, applier)
        first = await sync.sync()
        server.requests.clear()
        assert await sync.sync() == first
        assert server.requests == [LOOK]
    finally:
        server.stop()
