"""A repository with a longer history than the mirror has: files of its newest commit must come all the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from canary.gitops.credentials import GitAuth
from canary.gitops.git import DEPTH, Mirror
from canary.sandbox.gitserver import GitServer
from tests.gitops.support import PATH, bury


@pytest.mark.parametrize("commits", [DEPTH - 10, DEPTH + 10])
async def test_files_come_whether_the_history_is_whole_or_not(server: GitServer, tmp_path: Path, fleet: str, commits: int) -> None:
    bury(server, commits)
    mirror = Mirror(tmp_path, fleet, GitAuth())
    tip = await mirror.fetch("main")
    assert tip is not None
    found = await mirror.blob_ids(tip.oid, [PATH])
    texts, _ = await mirror.blobs(tip.oid, [found[PATH]], max_bytes=10_000)
    assert b"kind: Deployment" in texts[found[PATH]]
