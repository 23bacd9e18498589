"""A Git server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from canary.sandbox.gitserver import GitServer


@pytest.fixture
def server(tmp_path: Path) -> Iterator[GitServer]:
    server = GitServer(tmp_path / "git")
    server.start()
    yield server
    server.stop()
