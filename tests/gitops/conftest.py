"""A Git server, and an API without anything in it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from canary.sandbox.gitserver import GitServer
from tests.gitops.support import MANIFEST, PATH, Api


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository that is made once: git takes longer for it than for most tests."""
    server = GitServer(tmp_path_factory.mktemp("template"))
    server.create("fleet", {PATH: MANIFEST, "README.md": "fleet\n"})
    return server.root / "fleet.git"


@pytest.fixture
def server(tmp_path: Path, template: Path) -> Iterator[GitServer]:
    """With a repository `fleet` that names a bad image."""
    shutil.copytree(template, tmp_path / "git" / "fleet.git")
    server = GitServer(tmp_path / "git")
    server.start()
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
