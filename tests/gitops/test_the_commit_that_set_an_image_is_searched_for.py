"""Where nobody says which commit started a run, the repository is asked: one place and one commit are believed, anything else is a guess."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from canary.gitops import git, sources, wanted
from canary.gitops.failures import Failure, GitFailed, Reaction
from canary.gitops.git import Mirror
from canary.kube.resource import CANARY_RUNS, GIT_SINKS, Object
from canary.sandbox.gitserver import GitServer
from tests.gitops.forge_support import Scene, scene
from tests.gitops.support import (
    BAD,
    BEGIN,
    GOOD,
    MANIFEST,
    NAMESPACE,
    PATH,
    Api,
    bury,
    drained,
    effects,
    records,
    run,
    running,
    settled,
    show,
    sink,
    until,
)

pytestmark = pytest.mark.slow

NEW = "ghcr.io/acme/podinfo:6.2.0"


def now() -> float:
    """Minutes after `BEGIN` at which a run starts that starts now."""
    return (datetime.now(UTC) - BEGIN).total_seconds() / 60


def named(image: str, *, more: str = "") -> str:
    return MANIFEST.replace(BAD, image) + more


def under_way(name: str = "r1", *kinds: str, minute: float | None = None, **options: Any) -> Object:
    """A run of the new image that goes on, and whose commit nobody knows."""
    body = run(
        name,
        outcome="Running",
        minute=now() if minute is None else minute,
        images={"podinfo": NEW},
        effects=kinds or ("source/fleet",),
        **options,
    )
    del body["status"]["finishedAt"]
    return body


async def searched(api: Api, url: str, body: Object, **spec: Any) -> tuple[Object | None, Object]:
    """What is on the run afterwards: its source, without the repository, and the effect."""
    api.add(GIT_SINKS, sink(url, **spec))
    api.add(CANARY_RUNS, body)
    await drained(api)
    name = body["metadata"]["name"]
    found = api.stored(CANARY_RUNS, NAMESPACE, name)["status"].get("source")
    if found:
        assert found.pop("repository") == url
    return found, effects(api, name)["source/fleet"]


def commit(oid: str, confidence: str = "high", path: str = PATH) -> Object:
    return {"revision": oid, "path": path, "via": "search", "confidence": confidence}


async def test_one_place_and_one_commit_are_sure(server: GitServer, fleet: str, api: Api) -> None:
    server.write("fleet", {PATH: named(GOOD)}, message="before")
    it = server.write("fleet", {PATH: named(NEW)}, message="release")
    server.write("fleet", {PATH: named(NEW, more="# a comment\n")}, message="of the same file")
    server.write("fleet", {"README.md": "other\n"}, message="of another")
    found, effect = await searched(api, fleet, under_way())
    assert found == commit(it)
    assert (effect["state"], effect["ref"]) == ("Done", it)


async def test_it_is_found_when_the_branch_has_moved_on(server: GitServer, fleet: str, api: Api) -> None:
    it = server.write("fleet", {PATH: named(NEW)}, message="release")
    server.write("fleet", {PATH: named("ghcr.io/acme/podinfo:6.3.0")}, message="the next")
    found, _ = await searched(api, fleet, under_way())
    assert found == commit(it)


async def test_of_several_commits_the_newest_is_a_guess(server: GitServer, fleet: str, api: Api) -> None:
    for image in (NEW, GOOD):
        server.write("fleet", {PATH: named(image)}, message=image)
    it = server.write("fleet", {PATH: named(NEW)}, message="again")
    found, _ = await searched(api, fleet, under_way())
    assert found == commit(it, "low")


async def test_of_several_places_it_is_a_guess(server: GitServer, fleet: str, api: Api) -> None:
    server.write("fleet", {"other/podinfo.yaml": named(BAD)}, message="another cluster")
    server.write("fleet", {PATH: named(NEW)}, message="release")
    it = server.write("fleet", {"other/podinfo.yaml": named(NEW)}, message="release there")
    found, _ = await searched(api, fleet, under_way())
    assert found == commit(it, "low", "other/podinfo.yaml")


async def test_a_place_that_is_only_alike_is_a_guess(server: GitServer, fleet: str, api: Api) -> None:
    values = "image:\n  repository: ghcr.io/acme/podinfo\n  tag: 6.1.0\n"
    server.write("fleet", {PATH: None, "values.yaml": values}, message="a chart that nothing here installs")
    it = server.write("fleet", {"values.yaml": values.replace("6.1.0", "6.2.0")}, message="release")
    found, _ = await searched(api, fleet, under_way())
    assert found == commit(it, "low", "values.yaml")


async def test_a_file_that_is_moved_has_not_set_what_it_brings_along(server: GitServer, fleet: str, api: Api) -> None:
    server.write("fleet", {PATH: named(NEW)}, message="release")
    it = server.write("fleet", {PATH: None, "moved/podinfo.yaml": named(NEW)}, message="tidy up")
    found, _ = await searched(api, fleet, under_way())
    assert found == commit(it, "low", "moved/podinfo.yaml")


async def test_the_place_may_be_an_entry_of_a_kustomization(server: GitServer, fleet: str, api: Api) -> None:
    overlay = "resources: [../podinfo.yaml]\nimages:\n- name: ghcr.io/acme/podinfo\n  newTag: 6.1.0\n"
    path = "apps/prod/kustomization.yaml"
    server.write("fleet", {path: overlay}, message="an overlay")
    it = server.write("fleet", {path: overlay.replace("6.1.0", "6.2.0")}, message="release")
    found, _ = await searched(api, fleet, under_way())
    assert found == commit(it, path=path)


async def test_what_was_merged_came_by_the_merge(server: GitServer, fleet: str, api: Api) -> None:
    old = server.git("fleet", "rev-parse", "main").strip()
    server.git("fleet", "update-ref", "refs/heads/feature", old)
    new = server.write("fleet", {PATH: named(NEW)}, message="release", branch="feature")
    me = ("-c", "user.name=dev", "-c", "user.email=dev@example.com")
    it = server.git("fleet", *me, "commit-tree", f"{new}^{{tree}}", "-p", old, "-p", new, "-m", "merge").strip()
    server.git("fleet", "update-ref", "refs/heads/main", it)
    found, _ = await searched(api, fleet, under_way())
    assert found == commit(it)


async def test_a_path_with_odd_letters_is_a_path(server: GitServer, fleet: str, api: Api) -> None:
    path = ':(top) "a"*/é.yaml'
    server.write("fleet", {PATH: None, path: named(GOOD)}, message="moved")
    it = server.write("fleet", {path: named(NEW)}, message="release")
    found, _ = await searched(api, fleet, under_way())
    assert found == commit(it, path=path)


@pytest.mark.parametrize("case", ["never", "later", "images", "cut", "branch"])
async def test_what_is_not_found_is_no_source_and_no_error(
    server: GitServer, fleet: str, api: Api, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    body, spec = under_way(), {}
    if case != "never":
        server.write("fleet", {PATH: named(NEW)}, message="release")
    if case == "later":
        body = under_way(minute=now() - 7)
    if case == "images":
        body["spec"]["previous"]["images"] = {"podinfo": NEW}
    if case == "cut":
        monkeypatch.setattr(git, "DEPTH", 3)
        monkeypatch.setattr(git, "DEEPER", 4)
        bury(server, 8)
    if case == "branch":
        spec["repository"] = {"branch": "gone"}
    found, effect = await searched(api, fleet, body, **spec)
    assert found is None
    assert (effect["state"], effect["reason"]) == ("Skipped", "NoSource")


@pytest.mark.parametrize("case", ["refused", "slow", "many"])
async def test_a_search_that_fails_disturbs_nothing(
    server: GitServer, fleet: str, api: Api, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    async def refuses(*_: object, **__: object) -> None:
        raise GitFailed(Failure("Forbidden", Reaction.BLOCKED, "no"))

    if case == "refused":
        monkeypatch.setattr(Mirror, "changes", refuses)
    else:
        monkeypatch.setattr(sources, "PATIENCE" if case == "slow" else "MANY", 0)
    server.write("fleet", {PATH: named(NEW)}, message="release")
    api.add(CANARY_RUNS, run("r0", canary="other", effects=("record/fleet",)))
    api.add(GIT_SINKS, sink(fleet))
    api.add(CANARY_RUNS, under_way())
    async with running(api):
        await until(lambda: settled(api) and "status" in api.stored(GIT_SINKS, NAMESPACE, "fleet"))
    effect = effects(api, "r1")["source/fleet"]
    assert (effect["state"], effect["reason"]) == ("Skipped", "NoSource")
    assert effects(api, "r0")["record/fleet"]["state"] == "Done"
    conditions = api.stored(GIT_SINKS, NAMESPACE, "fleet")["status"]["conditions"]
    assert next(one["status"] for one in conditions if one["type"] == "Ready") == "True"


def test_nothing_waits_for_a_search_but_the_status_of_the_run_under_way() -> None:
    assert wanted.ORDER[wanted.SOURCE] == max(wanted.ORDER.values())


async def test_of_several_sinks_the_one_that_is_sure_is_believed(server: GitServer, fleet: str, api: Api) -> None:
    it = server.write("fleet", {PATH: named(NEW)}, message="release")
    other = server.git("fleet", "rev-parse", f"{it}^").strip()
    body = under_way()
    body["status"]["source"] = {"revision": other, "repository": fleet, "via": "search", "confidence": "high"}
    found, effect = await searched(api, fleet, body)
    assert found is not None
    assert (found["revision"], effect["ref"]) == (other, it)


async def test_the_record_says_it(server: GitServer, fleet: str, api: Api) -> None:
    it = server.write("fleet", {PATH: named(NEW)}, message="release")
    await searched(api, fleet, under_way())
    ended = run("r1", outcome="Succeeded", minute=now(), images={"podinfo": NEW})["status"]
    api.change(CANARY_RUNS, NAMESPACE, "r1", {"status": ended})
    await drained(api)
    (path,) = (path for path in records(server) if path.endswith("r1.json"))
    assert f'"revision": "{it}"' in show(server, path, branch="canary-outcomes")
    assert '"confidence": "high"' in show(server, path, branch="canary-outcomes")


def begins(one: Scene) -> None:
    one.sink(statuses={"target": "commit"}, onSuccess={"tag": True})
    one.api.add(CANARY_RUNS, under_way("r1", "source/fleet", "pending/fleet"))


async def test_a_commit_that_was_found_gets_its_statuses_and_its_tag(server: GitServer) -> None:
    async with scene(server) as one:
        it = one.server.write(one.repo, {PATH: named(NEW)}, message="release")
        begins(one)
        async with running(one.api, clock=one.clock):
            await until(lambda: one.said("pending") == ("Done", ""))
            ended = run("r1", outcome="Succeeded", minute=now(), images={"podinfo": NEW}, effects=("status/fleet", "tag/fleet"))["status"]
            one.api.change(CANARY_RUNS, NAMESPACE, "r1", {"status": ended})
            await until(lambda: settled(one.api))
        assert [(line.sha, line.state) for line in one.model.lines] == [(it, "pending"), (it, "success")]
        assert one.said("tag") == ("Done", "")


async def test_a_guess_gets_none(server: GitServer) -> None:
    async with scene(server) as one:
        for image in (NEW, GOOD, NEW):
            one.server.write(one.repo, {PATH: named(image)}, message=image)
        begins(one)
        async with running(one.api, clock=one.clock):
            await until(lambda: settled(one.api))
        assert one.said("pending") == ("Skipped", "LowConfidence")
        assert one.model.lines == []
