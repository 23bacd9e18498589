"""A Git server, and an API without anything in it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from canary.sandbox.gitserver import GitServer
from tests.gitops.support import MANIFEST, PATH, Api


@pytest.fixture
def server(tmp_path: Path) -> Iterator[GitServer]:
    """With a repository `fleet` that names a bad image."""
    server = GitServer(tmp_path / "git")
    server.start()
    server.create("fleet", {PATH: MANIFEST, "README.md": "fleet\n"})
    yield server
    server.stop()


@pytest.fixture
def fleet(server: GitServer) -> str:
    return f"{server.url}/fleet.git"


@pytest.fixture
def api() -> Iterator[Api]:
    api = Api()
    yield api
    api.assert_untouched()
