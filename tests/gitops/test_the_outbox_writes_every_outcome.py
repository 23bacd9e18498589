"""After every run there is a record, after a failed one the image is back, and the API says which commit did it."""

from __future__ import annotations

import asyncio
import json

import pytest

from canary.gitops.outbox import Outbox
from canary.kube.resource import CANARY_RUNS, GIT_SINKS
from canary.sandbox.gitserver import GitServer
from tests.gitops.layouts import HIGH, NEW, OLD, REPO
from tests.gitops.support import (
    BAD,
    GOOD,
    MANIFEST,
    NAMESPACE,
    PATH,
    Api,
    Clock,
    bury,
    drained,
    effects,
    records,
    run,
    running,
    show,
    sink,
    subjects,
    until,
)

pytestmark = pytest.mark.slow

FOLDER = "cluster-001/prod/podinfo"
OUTCOMES = "canary-outcomes"


def record(server: GitServer, path: str) -> dict[str, object]:
    found = json.loads(show(server, path, branch=OUTCOMES))
    assert isinstance(found, dict)
    return found


def pushes(server: GitServer) -> int:
    return sum(line.startswith("POST") and line.endswith("receive-pack") for line in server.requests)


async def ready(api: Api, name: str = "fleet") -> dict[str, object]:
    """The sink's condition Ready, once it is written."""
    await until(lambda: (api.stored(GIT_SINKS, NAMESPACE, name).get("status") or {}).get("conditions"))
    return next(one for one in api.stored(GIT_SINKS, NAMESPACE, name)["status"]["conditions"] if one["type"] == "Ready")


async def test_a_failed_release_is_recorded_and_its_image_goes_back(server: GitServer, fleet: str, api: Api) -> None:
    api.add(GIT_SINKS, sink(fleet, identity={"name": "Bot", "email": "bot@example.com"}))
    api.add(CANARY_RUNS, run("r1"))
    told: list[tuple[str, str, int]] = []
    async with running(api, on_effect=lambda *what: told.append(what)):
        await until(lambda: len(told) == 2)
        condition = await ready(api)
    done = effects(api, "r1")
    assert done["record/fleet"]["ref"] == server.git("fleet", "rev-parse", OUTCOMES).strip()
    assert done["revert/fleet"]["ref"] == server.git("fleet", "rev-parse", "main").strip()
    assert show(server, PATH) == MANIFEST.replace(BAD, GOOD)
    assert server.git("fleet", "diff", "--name-only", "main~1", "main").split() == [PATH]
    assert server.git("fleet", "log", "-1", "--format=%an <%ae>", "main").strip() == "Bot <bot@example.com>"
    data = record(server, f"{FOLDER}/r1.json")
    assert (data["outcome"], data["failedChecks"], data["maxWeightReached"]) == ("failed", 5, 30)
    assert records(server) == [f"{FOLDER}/r1.json"]
    assert server.git("fleet", "log", "--format=%P", OUTCOMES).strip() == ""  # an orphan: it shares nothing with what is delivered
    assert condition["status"] == "True"
    last = api.stored(GIT_SINKS, NAMESPACE, "fleet")["status"]["lastPush"]
    assert (last["branch"], last["commit"]) == ("main", done["revert/fleet"]["ref"])
    assert last["message"].startswith("canary(prod/podinfo): revert 6.1.0 -> 6.0.0")
    assert told == [("record", "Done", 1), ("revert", "Done", 0)]


@pytest.mark.parametrize("outcome", ["Succeeded", "Canceled"])
async def test_other_outcomes_leave_the_manifests_alone(server: GitServer, fleet: str, api: Api, outcome: str) -> None:
    api.add(GIT_SINKS, sink(fleet))
    api.add(CANARY_RUNS, run("r1", outcome=outcome))
    await drained(api)
    assert subjects(server) == ["initial"]
    pointer = [f"{FOLDER}/promoted.json"] if outcome == "Succeeded" else []
    assert records(server) == sorted([f"{FOLDER}/r1.json", *pointer])
    assert record(server, f"{FOLDER}/r1.json")["outcome"] == outcome.lower()
    if pointer:
        assert record(server, pointer[0])["release"] == record(server, f"{FOLDER}/r1.json")["release"]


async def test_the_pointer_to_the_last_success_never_goes_back(server: GitServer, fleet: str, api: Api) -> None:
    api.add(GIT_SINKS, sink(fleet))
    api.add(CANARY_RUNS, run("r2", outcome="Succeeded", minute=2))
    await drained(api)
    api.add(CANARY_RUNS, run("r1", outcome="Succeeded", minute=1))
    api.add(CANARY_RUNS, run("r3", minute=3))
    await drained(api)
    assert record(server, f"{FOLDER}/promoted.json")["runId"] == "r2"
    api.add(CANARY_RUNS, run("r5", outcome="Succeeded", minute=5))
    api.add(CANARY_RUNS, run("r4", outcome="Succeeded", minute=4))
    await drained(api)
    assert record(server, f"{FOLDER}/promoted.json")["runId"] == "r5"


@pytest.mark.fault(32)
async def test_many_outcomes_are_written_in_order_and_with_few_pushes(server: GitServer, api: Api) -> None:
    names = [f"app{number:02}" for number in range(60)]
    manifests = {f"apps/{name}.yaml": MANIFEST.replace("podinfo", name) for name in names}
    url = server.create("many", manifests)
    api.add(GIT_SINKS, sink(url))
    for number, name in enumerate(names):
        images = {"images": {name: BAD.replace("podinfo", name)}, "previous": {name: GOOD.replace("podinfo", name)}}
        api.add(CANARY_RUNS, run(f"r{number}", canary=name, minute=-number, **images))
    await drained(api)
    assert pushes(server) == 4  # records of fifty and of ten, reverts likewise
    reverts = subjects(server, "many")[:-1]
    assert reverts == [
        f"canary(prod/{name}): revert 6.1.0 -> 6.0.0, analysis failed on cluster-001" for name in names
    ]  # newest is the first
    assert len(records(server, "many")) == 60
    assert all(GOOD.replace("podinfo", name) in show(server, f"apps/{name}.yaml", repo="many") for name in names[::20])
    commits = server.git("many", "log", "--format=%H", "main").split()
    assert [effects(api, f"r{number}")["revert/fleet"]["ref"] for number in range(60)] == commits[:-1]


async def test_an_outcome_that_comes_while_the_outbox_runs_is_written_at_once(server: GitServer, fleet: str, api: Api) -> None:
    api.add(GIT_SINKS, sink(fleet))
    async with running(api):
        await ready(api)
        server.requests.clear()
        await asyncio.sleep(0.3)
        assert server.requests == []  # nothing to do is nothing done
        api.add(CANARY_RUNS, run("r1", status={}, outcome="Running", effects=()))
        api.change(CANARY_RUNS, NAMESPACE, "r1", {"status": run("r1")["status"]})
        await until(lambda: effects(api, "r1").get("revert/fleet", {}).get("state") == "Done")


@pytest.mark.slow
async def test_only_the_newest_records_are_kept_and_other_peoples_files_are_not_touched(server: GitServer, fleet: str, api: Api) -> None:
    api.add(GIT_SINKS, sink(fleet, records={"keep": 3}))
    foreign = {
        f"{FOLDER}/README.md": "x",
        f"{FOLDER}/notes.json": "{}",
        f"{FOLDER}/broken.json": "{",
        "cluster-002/prod/podinfo/r0.json": "{}",
    }
    server.write("fleet", foreign, message="by hand", branch=OUTCOMES)
    for number in range(6):
        api.add(CANARY_RUNS, run(f"r{number}", outcome="Succeeded", minute=number))
        await drained(api)
    mine = [path for path in records(server) if path not in foreign]
    assert mine == [f"{FOLDER}/promoted.json", *(f"{FOLDER}/r{number}.json" for number in (3, 4, 5))]
    assert set(foreign) <= set(records(server))
    assert record(server, f"{FOLDER}/promoted.json")["runId"] == "r5"


async def test_a_record_that_was_pruned_since_is_not_written_again(server: GitServer, fleet: str, api: Api) -> None:
    api.add(GIT_SINKS, sink(fleet, records={"keep": 1}))
    for number in range(2):
        api.add(CANARY_RUNS, run(f"r{number}", outcome="Succeeded", minute=number))
        await drained(api)
    api.change(CANARY_RUNS, NAMESPACE, "r0", {"status": run("r0", outcome="Succeeded")["status"]})  # the note was lost
    await drained(api)
    assert records(server) == [f"{FOLDER}/promoted.json", f"{FOLDER}/r1.json"]
    assert effects(api, "r0")["record/fleet"]["ref"] == server.git("fleet", "rev-parse", f"{OUTCOMES}~1").strip()


async def test_each_sink_of_a_namespace_writes_to_its_own_place(server: GitServer, fleet: str, api: Api) -> None:
    other = server.create("other", {"x.yaml": "a: 1\n"})
    api.add(GIT_SINKS, sink(fleet))
    api.add(GIT_SINKS, sink(other, name="audit", cluster="c2", records={"branch": "log"}, onFailure={"revert": "none"}))
    api.add(CANARY_RUNS, run("r1", effects=("record/fleet", "revert/fleet", "record/audit")))
    await drained(api)
    assert records(server) == [f"{FOLDER}/r1.json"]
    assert records(server, "other", "log") == ["c2/prod/podinfo/r1.json"]
    assert subjects(server, "other") == ["initial"]


async def test_two_sinks_to_one_repository_do_the_work_once(server: GitServer, fleet: str, api: Api) -> None:
    for name in ("fleet", "again"):
        api.add(GIT_SINKS, sink(fleet, name=name))
    api.add(CANARY_RUNS, run("r1", effects=("record/fleet", "revert/fleet", "record/again", "revert/again")))
    await drained(api)
    assert len(subjects(server)) == 2
    assert server.git("fleet", "rev-list", "--count", OUTCOMES).strip() == "1"
    refs = {name: effect["ref"] for name, effect in effects(api, "r1").items()}
    assert refs["record/fleet"] == refs["record/again"]
    assert refs["revert/fleet"] == refs["revert/again"]


@pytest.mark.slow
async def test_sinks_of_many_namespaces_share_one_outcomes_branch(server: GitServer, fleet: str, api: Api) -> None:
    for number in range(6):
        namespace = f"team-{number}"
        api.add(GIT_SINKS, sink(fleet, namespace=namespace))
        api.add(CANARY_RUNS, run("r1", namespace=namespace, outcome="Succeeded"))
    await drained(api)
    assert [path for path in records(server) if path.endswith("r1.json")] == [
        f"cluster-001/team-{number}/podinfo/r1.json" for number in range(6)
    ]


async def test_records_may_share_the_branch_that_is_delivered(server: GitServer, fleet: str, api: Api) -> None:
    api.add(GIT_SINKS, sink(fleet, records={"branch": "main"}))
    api.add(CANARY_RUNS, run("r1"))
    await drained(api)
    assert len(subjects(server)) == 3
    assert f"{FOLDER}/r1.json" in records(server, branch="main")
    assert GOOD in show(server, PATH)


# ------------------------------------------------------------------------------------------------------- when to write


async def test_a_suspended_sink_writes_nothing_until_it_is_resumed(server: GitServer, fleet: str, api: Api) -> None:
    api.add(GIT_SINKS, sink(fleet, suspend=True))
    api.add(CANARY_RUNS, run("r1"))
    async with running(api) as outbox:
        await asyncio.sleep(0.3)
        assert server.requests == []
        assert outbox.depth == 1
        api.change(GIT_SINKS, NAMESPACE, "fleet", {"spec": {"suspend": False}})
        await until(lambda: effects(api, "r1")["revert/fleet"]["state"] == "Done")
        assert outbox.depth == 0


async def test_what_waits_for_a_deleted_sink_is_given_up_an_hour_later(server: GitServer, api: Api) -> None:
    clock, warned = Clock(), []
    api.add(CANARY_RUNS, run("r1"))
    async with running(api, clock=clock, warn=lambda *what: warned.append(what[1:])):
        await until(lambda: effects(api, "r1")["revert/fleet"]["state"] == "Blocked")
        assert effects(api, "r1")["revert/fleet"]["reason"] == "SinkDeleted"
    assert [kind for _, kind in warned] == ["GitSinkDeleted"] * 2
    clock.ahead += 3700
    await drained(api, clock=clock)
    assert {effect["state"] for effect in effects(api, "r1").values()} == {"Skipped"}


async def test_a_sink_that_is_replaced_loses_nothing(server: GitServer, fleet: str, api: Api) -> None:
    api.add(GIT_SINKS, sink(f"{server.url}/absent.git"))
    api.add(CANARY_RUNS, run("r1"))
    async with running(api):
        await until(lambda: effects(api, "r1")["record/fleet"]["state"] == "Blocked")
        api.remove(GIT_SINKS, NAMESPACE, "fleet")
        await until(lambda: effects(api, "r1")["record/fleet"]["reason"] == "SinkDeleted")
        api.add(GIT_SINKS, sink(fleet))
        await until(lambda: effects(api, "r1")["revert/fleet"]["state"] == "Done")


async def test_what_the_sink_does_not_ask_for_any_more_is_skipped(server: GitServer, fleet: str, api: Api) -> None:
    api.add(GIT_SINKS, sink(fleet, records={"target": "none"}, onFailure={"revert": "none"}))
    api.add(CANARY_RUNS, run("r1", effects=("record/fleet", "revert/fleet", "dance/fleet")))
    await drained(api)
    assert {effect["reason"] for effect in effects(api, "r1").values()} == {"NotWanted"}
    assert (subjects(server), records(server)) == (["initial"], [])


@pytest.mark.parametrize(
    ("later", "state", "reason"),
    [
        ({"outcome": "Succeeded"}, "Skipped", "Superseded"),
        ({"outcome": "Succeeded", "images": {"podinfo": "x:3"}}, "Skipped", "Superseded"),
        ({"outcome": "Running", "effects": ()}, "Waiting", "NewerRun"),
        ({"outcome": "Canceled"}, "Done", None),
        ({"outcome": "Failed", "images": {"podinfo": "x:3"}}, "Done", None),
        ({"outcome": "Succeeded", "canary": "other"}, "Done", None),
    ],
)
async def test_a_later_run_decides_whether_an_older_revert_still_makes_sense(
    server: GitServer, fleet: str, api: Api, later: dict[str, object], state: str, reason: str | None
) -> None:
    api.add(GIT_SINKS, sink(fleet))
    api.add(CANARY_RUNS, run("r1"))
    api.add(CANARY_RUNS, run("r2", minute=1, **later))  # type: ignore[arg-type]
    async with running(api):
        await until(lambda: effects(api, "r1")["revert/fleet"]["state"] == state)
        assert effects(api, "r1")["revert/fleet"].get("reason") == reason
        assert (GOOD in show(server, PATH)) is (state == "Done")
        if state == "Waiting":
            api.change(CANARY_RUNS, NAMESPACE, "r2", {"status": run("r2", outcome="Canceled")["status"]})


async def test_the_same_images_failing_twice_are_reverted_by_the_later_run(server: GitServer, fleet: str, api: Api) -> None:
    api.add(GIT_SINKS, sink(fleet))
    api.add(CANARY_RUNS, run("r1"))
    api.add(CANARY_RUNS, run("r2", minute=1))
    await drained(api)
    assert effects(api, "r1")["revert/fleet"]["reason"] == "Superseded"
    assert effects(api, "r2")["revert/fleet"]["state"] == "Done"
    assert len(subjects(server)) == 2


# ------------------------------------------------------------------------------------------------------- odd runs


async def test_runs_that_are_under_way_unreadable_or_misnamed_hold_nobody_up(server: GitServer, fleet: str, api: Api) -> None:
    api.add(GIT_SINKS, sink(fleet))
    api.add(CANARY_RUNS, run("r0", outcome="Running", effects=("record/fleet",)))
    broken = run("r1")
    del broken["spec"]["target"]
    api.add(CANARY_RUNS, broken)
    api.add(CANARY_RUNS, run("r2", canary="../../etc"))
    api.add(CANARY_RUNS, run("r3"))
    async with running(api):
        await until(lambda: effects(api, "r3")["revert/fleet"]["state"] == "Done")
    assert effects(api, "r2")["record/fleet"]["reason"] == "InvalidRun"
    assert effects(api, "r0")["record/fleet"]["state"] == effects(api, "r1")["record/fleet"]["state"] == "Queued"
    assert records(server) == [f"{FOLDER}/r3.json"]


async def test_a_run_that_is_deleted_meanwhile_harms_nobody(server: GitServer, fleet: str, api: Api) -> None:
    api.add(GIT_SINKS, sink(fleet))
    api.add(CANARY_RUNS, run("r1", outcome="Succeeded"))
    api.add(CANARY_RUNS, run("r2", outcome="Succeeded", minute=1))

    async def deleted(what: str) -> None:
        if what == "merge canaryruns":
            api.remove(CANARY_RUNS, NAMESPACE, "r1")

    api.step = deleted
    async with running(api):
        await until(lambda: effects(api, "r2")["record/fleet"]["state"] == "Done")
        await ready(api)


# ------------------------------------------------------------------------------------------------------- limits and sinks


@pytest.mark.fault(22)
async def test_paths_and_sizes_outside_the_limits_are_not_edited_and_the_reason_is_said(server: GitServer, fleet: str, api: Api) -> None:
    api.add(GIT_SINKS, sink(fleet, limits={"allowedPaths": ["infra/**"]}))
    api.add(GIT_SINKS, sink(fleet, name="small", limits={"maxBytes": 100}))
    api.add(CANARY_RUNS, run("r1", effects=("revert/fleet", "revert/small")))
    warned: list[str] = []
    async with running(api, warn=lambda _, text, kind: warned.append(f"{kind}: {text}")):
        await until(lambda: {effect["state"] for effect in effects(api, "r1").values()} == {"Blocked"})
        done = effects(api, "r1")
        assert done["revert/fleet"]["reason"] == done["revert/small"]["reason"] == "NoSite"
        assert f"{PATH} is larger than limits.maxBytes" in done["revert/small"]["error"]
        assert (await ready(api))["status"] == "True"  # the sink works; this write needs a person
        assert min(warned).startswith("GitNoSite: Git revert of run r1: no plain manifest of Deployment prod/podinfo")
        api.change(GIT_SINKS, NAMESPACE, "fleet", {"spec": {"limits": {"allowedPaths": ["apps/**"]}}})
        await until(lambda: effects(api, "r1")["revert/fleet"]["state"] == "Done")
    assert len(warned) == 2
    assert GOOD in show(server, PATH)


async def test_a_sink_that_does_as_before_is_not_written_to(server: GitServer, fleet: str, api: Api) -> None:
    clock = Clock()
    api.add(GIT_SINKS, sink(fleet, limits={"allowedPaths": ["infra/**"]}))
    api.add(CANARY_RUNS, run("r1", effects=("revert/fleet",)))
    async with running(api, clock=clock) as outbox:
        await ready(api)
        for attempt in (2, 3):
            clock.ahead += 3700
            outbox._wake.set()
            await until(lambda: effects(api, "r1")["revert/fleet"]["attempts"] == attempt)
        await asyncio.sleep(0.1)
    assert [request for request in api.writes if request[1] == "gitsinks"] == [("merge", "gitsinks", "fleet")]


async def test_a_new_sink_is_looked_at_before_it_is_needed(server: GitServer, fleet: str, api: Api) -> None:
    api.add(GIT_SINKS, sink(fleet))
    api.add(GIT_SINKS, sink(fleet, name="lost", repository={"branch": "production"}))
    async with running(api):
        assert (await ready(api))["status"] == "True"
        condition = await ready(api, "lost")
        assert (condition["status"], condition["reason"]) == ("False", "NoBranch")
        writes = len(api.writes)
        api.change(GIT_SINKS, NAMESPACE, "lost", {"metadata": {"labels": {"a": "b"}}})
        await asyncio.sleep(0.3)
        assert len(api.writes) == writes  # nothing changed, nothing is written
        api.add(CANARY_RUNS, run("r1", effects=("record/lost",)))
        await until(lambda: effects(api, "r1")["record/lost"]["state"] == "Done")


async def test_a_lost_note_is_found_again_below_many_commits(server: GitServer, fleet: str, api: Api) -> None:
    api.add(GIT_SINKS, sink(fleet))
    api.add(CANARY_RUNS, run("r1"))
    await drained(api)
    first = effects(api, "r1")
    bury(server, 70)
    bury(server, 70, branch=OUTCOMES)
    server.write("fleet", {PATH: MANIFEST}, message="the bad image again")
    api.change(CANARY_RUNS, NAMESPACE, "r1", {"status": run("r1")["status"]})
    await drained(api)
    assert {name: effect["ref"] for name, effect in effects(api, "r1").items()} == {name: effect["ref"] for name, effect in first.items()}
    assert subjects(server)[0] == "the bad image again"


async def test_an_outbox_needs_no_directory_and_leaves_none(
    server: GitServer, fleet: str, api: Api, tmp_path: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pathlib import Path

    folder = Path(str(tmp_path)) / "scratch"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    api.add(GIT_SINKS, sink(fleet))
    api.add(CANARY_RUNS, run("r1"))
    await drained(api)
    assert list(folder.iterdir()) == []
    assert isinstance(Outbox(api), Outbox)  # made and never run: nothing to clean up


async def test_a_kept_directory_is_used_again_and_forgotten_with_its_sink(
    server: GitServer, fleet: str, api: Api, tmp_path: object
) -> None:
    from pathlib import Path

    folder = Path(str(tmp_path)) / "kept"
    folder.mkdir()
    api.add(GIT_SINKS, sink(fleet))
    for number in range(2):
        api.add(CANARY_RUNS, run(f"r{number}", outcome="Succeeded", minute=number))
        await drained(api, directory=str(folder))
        assert len(list(folder.iterdir())) == 1
    async with running(api, directory=str(folder)):
        await ready(api)
        await asyncio.sleep(0.1)
        api.remove(GIT_SINKS, NAMESPACE, "fleet")
        await until(lambda: list(folder.iterdir()) == [])


# --------------------------------------------------------------------------------------------- other layouts than plain manifests


async def test_the_entry_of_an_overlay_goes_back_though_base_and_flux_object_are_outside_the_limits(server: GitServer, api: Api) -> None:
    files = {path: text.replace("TAG", NEW) for path, text in HIGH["flux sets the namespace"][0].items()}
    api.add(GIT_SINKS, sink(server.create("layout", files), limits={"allowedPaths": ["apps/prod/**"]}))
    api.add(CANARY_RUNS, run("r1", images={"podinfo": f"{REPO}:{NEW}"}, previous={"podinfo": f"{REPO}:{OLD}"}))
    await drained(api)
    assert effects(api, "r1")["revert/fleet"]["state"] == "Done"
    assert server.git("layout", "diff", "--name-only", "main~1", "main").split() == ["apps/prod/kustomization.yaml"]
    path = "apps/prod/kustomization.yaml"
    assert show(server, path, repo="layout") == files[path].replace(NEW, OLD)


async def test_values_files_and_inline_patches_go_back(server: GitServer, api: Api) -> None:
    for layout in ("values file of a chart in the repository", "inline json patch, crlf"):
        files, file, _ = HIGH[layout]
        name = layout.split()[0]
        url = server.create(name, {path: text.replace("TAG", NEW) for path, text in files.items()})
        api.add(GIT_SINKS, sink(url, name=name))
        kinds = (f"revert/{name}",)
        api.add(CANARY_RUNS, run(name, images={"podinfo": f"{REPO}:{NEW}"}, previous={"podinfo": f"{REPO}:{OLD}"}, effects=kinds))
        await drained(api)
        assert server.git(name, "diff", "--name-only", "main~1", "main").split() == [file]
        assert show(server, file, repo=name) == files[file].replace("TAG", OLD)


async def test_a_place_that_others_use_or_too_many_files_wait_for_a_person(server: GitServer, api: Api) -> None:
    shared = {
        "base/kustomization.yaml": "resources: [d.yaml]\n",
        "base/d.yaml": MANIFEST.replace(f"  namespace: {NAMESPACE}\n", ""),
        "prod/kustomization.yaml": "namespace: prod\nresources: [../base]\n",
        "staging/kustomization.yaml": "namespace: staging\nresources: [../base]\n",
    }
    two = MANIFEST + "      initContainers:\n      - name: setup\n        image: setup\n"
    many = {
        "a/kustomization.yaml": "resources: [d.yaml]\nimages:\n- {name: setup, newTag: '2'}\n",
        "a/d.yaml": two,
    }
    api.add(GIT_SINKS, sink(server.create("shared", shared), name="shared"))
    api.add(GIT_SINKS, sink(server.create("many", many), name="many", limits={"maxFiles": 1}))
    images = {"images": {"podinfo": BAD, "setup": "setup:2"}, "previous": {"podinfo": GOOD, "setup": "setup:1"}}
    api.add(CANARY_RUNS, run("r1", effects=("revert/shared",)))
    api.add(CANARY_RUNS, run("r2", effects=("revert/many",), **images))
    async with running(api):
        await until(lambda: effects(api, "r1")["revert/shared"]["state"] == effects(api, "r2")["revert/many"]["state"] == "Blocked")
        assert effects(api, "r1")["revert/shared"]["reason"] == "SharedSite"
        assert "Deployment staging/podinfo" in effects(api, "r1")["revert/shared"]["error"]
        assert effects(api, "r2")["revert/many"]["reason"] == "TooManyFiles"
        api.change(GIT_SINKS, NAMESPACE, "many", {"spec": {"limits": {"maxFiles": 2}}})
        await until(lambda: effects(api, "r2")["revert/many"]["state"] == "Done")
    assert subjects(server, "shared") == ["initial"]
    assert show(server, "a/kustomization.yaml", repo="many") == many["a/kustomization.yaml"].replace("'2'", "'1'")
    assert show(server, "a/d.yaml", repo="many") == two.replace(BAD, GOOD)
