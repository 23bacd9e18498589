"""Who may say what: records in other clusters' places, under other names, unsigned, or in rewritten histories."""

from __future__ import annotations

import json
import subprocess
import time

import pytest

from canary.gitops.rings.decide import decide
from canary.gitops.rings.reader import Memory, read
from tests.rings.repository import Fleet, manifest, outcome, rules

pytestmark = pytest.mark.slow


@pytest.fixture
def fleet(server, tmp_path):
    fleet = Fleet(server, tmp_path, {"apps/podinfo.yaml": manifest("6.1.0")})
    fleet.write({"fleet/clusters.yaml": "clusters: {first-0: {ring: first}, second-0: {ring: second}, third-0: {ring: third}}\n"})
    return fleet


async def seen(fleet, plan=None, mirror=None):
    plan = plan or rules()
    view = await read(mirror or fleet.mirror(), plan, Memory())
    return view, decide(plan, view, time.time() + 60)


async def passed(fleet, **more):
    view, decision = await seen(fleet, **more)
    return decision.standing(view.candidates[0].release, "first").passed


async def test_an_honest_record_counts(fleet):
    fleet.say("first-0", "6.1.0")
    assert await passed(fleet)


@pytest.mark.parametrize(
    ("lie", "told"),
    [
        ({"cluster": "second-0"}, "it says cluster 'second-0'"),
        ({"namespace": "other"}, "it says namespace 'other'"),
        ({"name": "other"}, "it says name 'other'"),
        ({"runId": "other"}, "it says runId 'other'"),
        ({"schema": 9}, "schema 9 is not known"),
    ],
)
async def test_a_record_that_is_not_what_its_place_says_counts_nowhere(fleet, lie, told):
    fleet.say("first-0", "6.1.0", data=lie)
    view, _ = await seen(fleet)
    assert not await passed(fleet)
    assert any(told in problem for problem in view.problems)


@pytest.mark.parametrize(
    "broken",
    [
        {"finishedAt": None},
        {"finishedAt": "yesterday"},
        {"finishedAt": "2026-01-01T00:00:00"},
        {"release": None},
        {"outcome": "great"},
        {"outcome": "canceled"},
    ],
)
async def test_a_record_without_what_is_needed_counts_nowhere(fleet, broken):
    fleet.say("first-0", "6.1.0", data=broken)
    assert not await passed(fleet)


async def test_a_cluster_writes_in_no_other_clusters_folder(fleet):
    path, content = outcome("first-0", "6.1.0")
    fleet.write({path: content}, branch="canary/o/second/second-0")
    assert not await passed(fleet)


async def test_a_ref_in_the_wrong_ring_is_nobodys(fleet):
    fleet.say("first-0", "6.1.0", branch="canary/o/second/first-0")
    view, _ = await seen(fleet)
    assert not await passed(fleet)
    assert view.problems == ("refs/heads/canary/o/second/first-0 is the place of no cluster of the plan; nothing in it counts",)


async def test_garbage_is_told_and_counts_nowhere(fleet):
    for content in (b"", b"[]", b"\xff\xfe", json.dumps({"a": 1}).encode(), b"x" * 70000):
        fleet.write({"first-0/prod/podinfo/run.json": content}, branch="canary/o/first/first-0")
        view, _ = await seen(fleet)
        assert len(view.problems) == 1
    fleet.write({"first-0/prod/podinfo": "a file where a folder should be"}, branch="canary/o/third/third-0")
    assert not await passed(fleet)


async def test_a_quarantined_cluster_is_not_heard(fleet):
    fleet.say("first-0", "6.1.0", result="Failed")
    assert (await seen(fleet))[1].halted
    fleet.write(
        {
            "fleet/clusters.yaml": "clusters: {first-0: {ring: first, quarantined: true}, first-1: {ring: first}, s: {ring: second}, t: {ring: third}}"
        }
    )
    assert not (await seen(fleet))[1].halted


@pytest.mark.parametrize("how", ["rewritten", "deleted"])
async def test_a_history_that_was_changed_counts_nowhere_until_a_person_has_looked(fleet, how):
    mirror = fleet.mirror()
    fleet.say("first-0", "6.1.0", result="Failed")
    assert (await seen(fleet, mirror=mirror))[1].halted
    fleet.git("branch", "-D", "canary/o/first/first-0")
    if how == "rewritten":
        fleet.say("first-0", "6.1.0")
    for _ in range(2):
        view, decision = await seen(fleet, mirror=mirror)
        assert not decision.standing(view.candidates[0].release, "first").passed
        assert view.problems[0] == "refs/heads/canary/o/first/first-0: its history is not the one it was; nothing in it counts"


async def test_a_history_that_grew_counts(fleet):
    mirror = fleet.mirror()
    fleet.say("first-0", "6.0.0")
    await seen(fleet, mirror=mirror)
    fleet.say("first-0", "6.1.0")
    assert await passed(fleet, mirror=mirror)


# -------------------------------------------------------------------------------------------------- signatures


@pytest.fixture
def keys(tmp_path):
    """A key for each of two clusters, and one that nobody knows."""
    for name in ("first-0", "second-0", "stranger"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / name], check=True)
    return tmp_path


def sign(fleet, key, branch):
    """Make the newest commit of a branch anew, signed."""
    tip = fleet.head(branch)
    who = ("-c", "user.name=c", "-c", "user.email=c@x", "-c", "gpg.format=ssh", "-c", f"user.signingkey={key}")
    commit = fleet.git(*who, "commit-tree", "-S", "-m", "signed", f"{tip}^{{tree}}")
    fleet.git("update-ref", f"refs/heads/{branch}", commit)


@pytest.mark.parametrize(("key", "counts"), [("first-0", True), ("second-0", False), ("stranger", False), ("", False)])
async def test_only_the_clusters_own_signature_counts_where_signatures_are_required(fleet, keys, key, counts):
    lines = [f'{name} namespaces="git" {(keys / f"{name}.pub").read_text()}' for name in ("first-0", "second-0")]
    fleet.write({"fleet/allowed_signers": "".join(lines)})
    fleet.say("first-0", "6.1.0")
    if key:
        sign(fleet, keys / key, "canary/o/first/first-0")
    plan = rules(records={"signatures": "required"})
    assert await passed(fleet, plan=plan) is counts
    view, _ = await seen(fleet, plan)
    assert [problem.partition(": ")[0] for problem in view.problems] == ([] if counts else ["first-0"])


async def test_a_signed_commit_does_not_vouch_for_what_came_after_it(fleet, keys):
    fleet.write({"fleet/allowed_signers": f"first-0 {(keys / 'first-0.pub').read_text()}"})
    fleet.write({"README": "x"}, branch="canary/o/first/first-0")
    sign(fleet, keys / "first-0", "canary/o/first/first-0")
    fleet.say("first-0", "6.1.0")
    assert not await passed(fleet, plan=rules(records={"signatures": "required"}))
