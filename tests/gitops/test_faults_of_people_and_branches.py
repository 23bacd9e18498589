"""People, bots and rules that are in the way of a write: what is decided, what is written all the same, and what is left alone."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from canary.gitops.credentials import GitAuth
from canary.gitops.failures import GitFailed, Reaction
from canary.gitops.git import Author, Draft, Mirror
from canary.kube.resource import CANARY_RUNS, GIT_SINKS
from canary.sandbox.gitserver import GitServer
from tests.gitops.forge_support import HEAD, merge, scene
from tests.gitops.support import (
    BAD,
    GOOD,
    MANIFEST,
    NAMESPACE,
    PATH,
    Api,
    Clock,
    drained,
    effects,
    records,
    run,
    running,
    settled,
    show,
    sink,
    subjects,
    until,
)
from tests.gitops.test_commits_are_signed import SIGNED_ONLY

pytestmark = pytest.mark.slow

OUTCOMES = "canary-outcomes"
V3 = BAD.replace("6.1.0", "7.0.0")


def said(api: Api, kind: str = "revert", name: str = "r1") -> tuple[str, str]:
    effect = effects(api, name)[f"{kind}/fleet"]
    return effect["state"], effect.get("reason", "")


def tree(server: GitServer, repo: str = "fleet", branch: str = "main") -> str:
    return server.git(repo, "rev-parse", f"{branch}^{{tree}}")


# ------------------------------------------------------------------------------------------------------- several writers


@pytest.mark.fault(1)
@pytest.mark.timeout(300)
async def test_eight_clusters_that_push_to_one_branch_at_once_lose_nothing(server: GitServer) -> None:
    """Threads of control of their own, each with its mirror, its API and its canary."""
    names = [f"app{number}" for number in range(8)]
    url = server.create("many", {f"apps/{name}.yaml": MANIFEST.replace("podinfo", name) for name in names})
    apis = []
    for number, name in enumerate(names):
        api = Api()
        api.add(GIT_SINKS, sink(url, cluster=f"cluster-{number}"))
        images = {"images": {name: BAD.replace("podinfo", name)}, "previous": {name: GOOD.replace("podinfo", name)}}
        for attempt in range(2):
            api.add(
                CANARY_RUNS,
                run(f"r{number}{attempt}", canary=name, outcome="Succeeded" if attempt else "Failed", minute=-attempt, **images),
            )
        apis.append(api)
    clock = Clock()

    async def one(api: Api) -> None:
        async with running(api, clock=clock) as outbox:
            while not settled(api):  # whoever was overtaken too often waits a minute
                clock.ahead += 30
                outbox._wake.set()
                await asyncio.sleep(1)

    await asyncio.gather(*map(one, apis))
    assert len(records(server, "many")) == 8 * 3
    assert sorted(subjects(server, "many"))[:8] == sorted(
        f"canary(prod/{name}): revert 6.1.0 -> 6.0.0, analysis failed on cluster-{number}" for number, name in enumerate(names)
    )
    for name in names:
        assert show(server, f"apps/{name}.yaml", repo="many") == MANIFEST.replace("podinfo", name).replace("6.1.0", "6.0.0")
    assert server.git("many", "rev-list", "--merges", "--all").strip() == ""


@pytest.mark.fault(2, 3)
@pytest.mark.parametrize(("theirs", "reason"), [(GOOD, "AlreadyReverted"), (V3, "Superseded")])
async def test_who_was_there_first_keeps_the_manifest_and_the_rest_is_written(server: GitServer, theirs: str, reason: str) -> None:
    async with scene(server) as one:
        one.server.write(one.repo, {PATH: MANIFEST.replace(BAD, theirs)}, message="theirs")
        one.sink(statuses={"target": "commit"})
        one.run("r1", "record", "revert", "status")
        async with running(one.api, clock=one.clock):
            await until(lambda: settled(one.api))
        assert (one.said("revert"), one.said("record"), one.said("status")) == (("Skipped", reason), ("Done", ""), ("Done", ""))
        assert subjects(one.server, one.repo) == ["theirs", "initial"]
        assert show(one.server, PATH, repo=one.repo) == MANIFEST.replace(BAD, theirs)
        assert records(one.server, one.repo) == ["cluster-001/prod/podinfo/r1.json"]
        assert [line.state for line in one.model.lines] == ["failure"]


# ------------------------------------------------------------------------------------------------------- rules of branches


@pytest.mark.fault(8)
async def test_a_branch_that_wants_signatures_and_gets_none_says_so_and_takes_them_later(
    server: GitServer, fleet: str, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.hook("fleet", "pre-receive", SIGNED_ONLY)
    api.add(GIT_SINKS, sink(fleet))
    api.add(CANARY_RUNS, run("r1"))
    async with running(api):
        await until(lambda: said(api) == ("Blocked", "SignatureRequired") and said(api, "record") == ("Blocked", "SignatureRequired"))
        await asyncio.sleep(0.3)
        assert sum(line.endswith("receive-pack") and line.startswith("POST") for line in server.requests) == 2, "no storm of retries"
        server.hook("fleet", "pre-receive", None)
        api.change(GIT_SINKS, NAMESPACE, "fleet", {"spec": {"records": {"keep": 100}}})
        await until(lambda: settled(api))


@pytest.mark.fault(9)
async def test_a_branch_that_is_gone_blocks_the_revert_and_not_the_record(server: GitServer, fleet: str, api: Api) -> None:
    clock = Clock()
    server.git("fleet", "branch", "-m", "main", "trunk")
    api.add(GIT_SINKS, sink(fleet))
    api.add(CANARY_RUNS, run("r1"))
    async with running(api, clock=clock) as outbox:
        await until(lambda: said(api) == ("Blocked", "NoBranch") and said(api, "record") == ("Done", ""))
        server.git("fleet", "branch", "-m", "trunk", "main")
        clock.ahead += 3601
        outbox._wake.set()
        await until(lambda: settled(api))
    assert GOOD in show(server, PATH)


@pytest.mark.fault(28)
async def test_records_that_are_refused_do_not_hold_up_the_revert(server: GitServer, fleet: str, api: Api) -> None:
    server.hook(
        "fleet",
        "pre-receive",
        'while read a b ref; do case "$ref" in */canary-outcomes) echo "GH006: Protected branch"; exit 1;; esac; done',
    )
    api.add(GIT_SINKS, sink(fleet))
    api.add(CANARY_RUNS, run("r1"))
    async with running(api):
        await until(lambda: said(api) == ("Done", "") and said(api, "record") == ("Blocked", "Protected"))
        assert records(server) == []
        server.hook("fleet", "pre-receive", None)
        api.change(GIT_SINKS, NAMESPACE, "fleet", {"spec": {"records": {"keep": 100}}})
        await until(lambda: settled(api))
    assert records(server) == ["cluster-001/prod/podinfo/r1.json"]
    assert sum("revert" in line for line in subjects(server)) == 1


# ------------------------------------------------------------------------------------------------------- what the files have become

SHARED = f"x-image: &image {BAD}\n" + MANIFEST.replace(f"image: {BAD}", "image: *image")
CHANGED: dict[str, tuple[Mapping[str, str | None], tuple[str, str]]] = {
    "an anchor instead of the text": ({PATH: SHARED}, ("Blocked", "UnsafeEdit")),
    "another container instead": ({PATH: MANIFEST.replace("- name: podinfo", "- name: web")}, ("Blocked", "NoSite")),
    "markers of a merge": ({PATH: f"<<<<<<< ours\n{MANIFEST}=======\n{MANIFEST}>>>>>>> theirs\n"}, ("Blocked", "NoSite")),
    "a second copy": ({"apps/copy.yaml": MANIFEST}, ("Blocked", "Ambiguous")),
    "gone": ({PATH: None}, ("Blocked", "NoSite")),
    "a template": ({PATH: MANIFEST.replace(BAD, "{{ .Values.image }}")}, ("Blocked", "NoSite")),
    "encrypted": ({PATH: f"{MANIFEST}sops:\n  mac: x\n"}, ("Blocked", "NoSite")),
    "a pointer to large file storage": (
        {PATH: f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 300\n"},
        ("Blocked", "NoSite"),
    ),
}


@pytest.mark.fault(15, 16, 21)
@pytest.mark.parametrize("case", CHANGED)
async def test_what_has_become_of_the_file_is_written_about_and_never_guessed(server: GitServer, fleet: str, api: Api, case: str) -> None:
    files, answer = CHANGED[case]
    server.write("fleet", files, message="theirs")
    before = tree(server)
    api.add(GIT_SINKS, sink(fleet, records={"target": "none"}))
    api.add(CANARY_RUNS, run("r1", effects=("revert/fleet",)))
    async with running(api):
        await until(lambda: said(api) == answer)
    assert tree(server) == before
    assert effects(api, "r1")["revert/fleet"]["error"]


@pytest.mark.fault(16)
async def test_a_manifest_that_has_moved_is_found_where_it_is(server: GitServer, fleet: str, api: Api) -> None:
    server.write("fleet", {PATH: None, "clusters/prod/web/main.yml": MANIFEST}, message="moved")
    api.add(GIT_SINKS, sink(fleet))
    api.add(CANARY_RUNS, run("r1"))
    await drained(api)
    assert show(server, "clusters/prod/web/main.yml") == MANIFEST.replace(BAD, GOOD)


@pytest.mark.fault(21)
async def test_modes_stay_and_what_is_no_plain_file_is_not_touched(server: GitServer, fleet: str, api: Api) -> None:
    head = f"commit refs/heads/main\ncommitter d <d@e> {int(datetime.now(UTC).timestamp())} +0000\ndata 1\nx\nfrom refs/heads/main^0\n"
    text = MANIFEST.encode()
    stream = f"{head}D {PATH}\nM 100755 inline apps/run.yaml\ndata {len(text)}\n".encode() + text
    stream += b"\nM 120000 inline apps/link.yaml\ndata 8\nrun.yaml\nM 160000 1234567890123456789012345678901234567890 apps/sub.yaml\n"
    server._git("fast-import", "--quiet", cwd=server.root / "fleet.git", stdin=stream)
    api.add(GIT_SINKS, sink(fleet))
    api.add(CANARY_RUNS, run("r1"))
    await drained(api)
    assert show(server, "apps/run.yaml") == MANIFEST.replace(BAD, GOOD)
    changed = server.git("fleet", "diff-tree", "-r", "main^", "main").splitlines()
    assert [line.split()[0:2] for line in changed] == [[":100755", "100755"]]


@pytest.mark.fault(26)
async def test_what_an_engine_made_of_half_a_revert_is_not_reverted_again(server: GitServer, fleet: str, api: Api) -> None:
    """It has our image and their other fields: a new revision, which fails, and there is no image to take back."""
    api.add(GIT_SINKS, sink(fleet))
    api.add(CANARY_RUNS, run("r1"))
    await drained(api)
    before = tree(server)
    mixture = run("r2", minute=5, images={"podinfo": GOOD})
    mixture["spec"]["release"]["templateHash"] = "v2:mixture"
    api.add(CANARY_RUNS, mixture)
    await drained(api)
    assert said(api, name="r2") == ("Skipped", "SameImages")
    assert tree(server) == before


# ------------------------------------------------------------------------------------------------------- pull requests

ASKING: Mapping[str, Any] = {"delivery": "pullRequest"}


@pytest.mark.fault(24)
async def test_a_merge_that_made_another_commit_is_a_merge(server: GitServer) -> None:
    """Squashed or rebased: the branch has the values, and none of our ids."""
    async with scene(server) as one:
        one.sink(onFailure=ASKING)
        one.run("r1", "pr")
        async with running(one.api, clock=one.clock) as outbox:
            await until(lambda: one.said("pr")[0] == "Waiting")
            one.server.write(one.repo, {PATH: MANIFEST.replace(BAD, GOOD)}, message="Take it back (#1)")
            one.model.pulls[0].state = "merged"
            await one.later(outbox, 31)
            await until(lambda: settled(one.api))
        assert one.said("pr") == ("Done", "")
        assert subjects(one.server, one.repo) == ["Take it back (#1)", "initial"]


@pytest.mark.fault(24)
async def test_a_base_that_is_gone_leaves_the_pull_request_alone(server: GitServer) -> None:
    async with scene(server) as one:
        one.sink(onFailure=ASKING)
        one.run("r1", "pr")
        async with running(one.api, clock=one.clock) as outbox:
            await until(lambda: one.said("pr")[0] == "Waiting")
            ours = one.model.tip(HEAD)
            one.server.git(one.repo, "branch", "-m", "main", "trunk")
            await one.later(outbox, 31)
            await until(lambda: one.said("pr") == ("Blocked", "NoBranch"))
            assert one.model.tip(HEAD) == ours
            one.server.git(one.repo, "branch", "-m", "trunk", "main")
            await one.later(outbox, 3601)
            await until(lambda: one.said("pr")[0] == "Waiting")
            merge(one)
            await one.later(outbox, 301)
            await until(lambda: settled(one.api))
        assert len(one.model.pulls) == 1


@pytest.mark.fault(27)
async def test_an_answer_of_a_person_is_seen_by_looking_and_by_nothing_else(server: GitServer) -> None:
    """There is nothing that a forge could call, so nothing can be forged, replayed or lost: late, but true."""
    async with scene(server) as one:
        one.sink(onFailure=ASKING)
        one.run("r1", "pr")
        async with running(one.api, clock=one.clock) as outbox:
            await until(lambda: one.said("pr")[0] == "Waiting")
            merge(one)
            for _ in range(3):
                outbox._wake.set()  # somebody knocks: it is not time yet
                await asyncio.sleep(0.1)
            assert one.said("pr")[0] == "Waiting"
            await one.later(outbox, 301)
            await until(lambda: settled(one.api))


@pytest.mark.fault(1)
async def test_mirrors_that_commit_at_once_make_one_line_of_commits(server: GitServer, fleet: str, tmp_path: Any) -> None:
    """Compare and swap, without an outbox around it: who loses computes anew."""
    me, tries = Author("canary", "canary@example.com"), []

    async def writer(number: int) -> None:
        folder = tmp_path / str(number)
        folder.mkdir()
        mirror = Mirror(folder, fleet, GitAuth())
        for commit in range(3):
            draft = Draft(f"{number}/{commit}", {f"w/{number}-{commit}": b"x"}, {})
            while True:
                tip = await mirror.fetch("main")
                assert tip is not None
                tries.append(number)
                try:
                    await mirror.publish("main", tip.oid, [draft], me, expected=tip.oid)
                    break
                except GitFailed as error:
                    if error.failure.reaction is not Reaction.RECOMPUTE:
                        raise

    await asyncio.gather(*(writer(number) for number in range(4)))
    assert sorted(subjects(server)[:-1]) == sorted(f"{number}/{commit}" for number in range(4) for commit in range(3))
    assert len(records(server, branch="main")) == 12 + 2
    assert len(tries) > 12, "so that somebody has lost"
