"""A Git server that is down, refuses, lies or hangs: what waits says why, what can go on goes on, and nothing is lost."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from pathlib import Path

import pytest

from canary.core.errors import Forbidden, Retryable
from canary.gitops.command import Patience
from canary.kube.resource import CANARY_RUNS, GIT_SINKS, SECRETS
from canary.sandbox.gitserver import GitServer, Handler
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
    secret,
    settled,
    show,
    sink,
    subjects,
    until,
)

pytestmark = pytest.mark.slow

OUTCOMES = "canary-outcomes"
PROTECT = 'while read a b ref; do [ "$ref" = refs/heads/main ] && { echo "GH006: Protected branch update failed"; exit 1; }; done; exit 0'


def state(api: Api, effect: str = "record/fleet", name: str = "r1") -> tuple[str, str | None]:
    found = effects(api, name)[effect]
    return found["state"], found.get("reason")


def condition(api: Api, kind: str = "Ready", name: str = "fleet") -> tuple[str, str] | None:
    status = api.stored(GIT_SINKS, NAMESPACE, name).get("status") or {}
    return next(((one["status"], one["reason"]) for one in status.get("conditions", ()) if one["type"] == kind), None)


def pushes(server: GitServer) -> int:
    return sum(line.startswith("POST") and line.endswith("receive-pack") for line in server.requests)


# ------------------------------------------------------------------------------------------------------- reachability


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Back off by tenths of seconds: what is tested is that it waits and comes back, not how long."""
    monkeypatch.setattr("canary.gitops.worker.SHORTEST", 0.1)
    monkeypatch.setattr("canary.gitops.worker.LONGEST", 0.3)
    monkeypatch.setattr("canary.gitops.worker.MINUTE", 0.3)


async def test_a_server_that_is_down_is_written_to_when_it_is_back(server: GitServer, fleet: str, api: Api) -> None:
    server.stop()
    api.add(GIT_SINKS, sink(fleet))
    for number in range(3):
        api.add(CANARY_RUNS, run(f"r{number}", outcome="Succeeded", minute=number))
    async with running(api):
        await until(lambda: state(api, name="r0") == ("Retrying", "Unreachable"))
        await until(lambda: effects(api, "r0")["record/fleet"]["attempts"] >= 3)
        assert state(api, name="r1") == ("Queued", None)  # one knocks for all
        assert condition(api) == ("False", "Unreachable")
        assert condition(api, "Stalled") is None
        server.start()
        await until(lambda: settled(api))
        await until(lambda: condition(api) == ("True", "Reachable"))
    assert len(records(server)) == 4


@pytest.mark.parametrize(("code", "reason"), [(503, "Unreachable"), (429, "Throttled"), (0, "Unreachable")])
@pytest.mark.fault(23)
async def test_a_server_in_trouble_is_tried_again(server: GitServer, fleet: str, api: Api, code: int, reason: str) -> None:
    def fault(handler: Handler) -> bool:
        handler.answer(code, b"busy") if code else handler.cut()
        return True

    server.fault = fault
    api.add(GIT_SINKS, sink(fleet))
    api.add(CANARY_RUNS, run("r1"))
    async with running(api):
        await until(lambda: state(api) == ("Retrying", reason))
        server.fault = None
        await until(lambda: settled(api))


@pytest.mark.fault(9)
async def test_a_repository_that_is_not_there_blocks_its_sink_only(server: GitServer, fleet: str, api: Api) -> None:
    api.add(GIT_SINKS, sink(fleet))
    api.add(GIT_SINKS, sink(f"{server.url}/gone.git", name="gone"))
    api.add(CANARY_RUNS, run("r1", effects=("record/fleet", "record/gone")))
    async with running(api):
        await until(lambda: state(api)[0] == "Done" and state(api, "record/gone") == ("Blocked", "Forbidden"))
        await until(lambda: condition(api, "Stalled", "gone") == ("True", "Forbidden"))


@pytest.mark.fault(31)
async def test_a_server_that_hangs_delays_no_other(server: GitServer, fleet: str, api: Api, tmp_path: Path) -> None:
    release = threading.Event()
    slow = GitServer(tmp_path / "slow", fault=lambda _: not release.wait(60))
    slow.start()
    try:
        for number in range(12):
            api.add(GIT_SINKS, sink(f"{slow.url}/r{number}.git", name=f"slow{number}"))
        api.add(GIT_SINKS, sink(fleet))
        api.add(CANARY_RUNS, run("r1"))
        async with running(api, patience=Patience(network=60, silence=60)):
            await until(lambda: settled(api))
            assert 0 < len(slow.requests) <= 8  # they hang, and not more of them at one host than its share
    finally:
        release.set()
        slow.stop()


# ------------------------------------------------------------------------------------------------------- credentials


@pytest.mark.parametrize("watched", [True, False])
@pytest.mark.fault(5)
async def test_a_wrong_password_is_tried_once_until_the_secret_changes(
    server: GitServer, fleet: str, api: Api, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, watched: bool
) -> None:
    caplog.set_level(logging.DEBUG)
    if watched:  # as for tracked configs; then nobody has to ask
        await api.watch(SECRETS)
        monkeypatch.setattr("canary.gitops.worker.MINUTE", 60)
    server.user = ("bot", "right-password")
    api.add(SECRETS, secret(username="bot", password="wrong-password"))
    api.add(GIT_SINKS, sink(fleet, repository={"secretRef": {"name": "git"}}))
    for number in range(5):
        api.add(CANARY_RUNS, run(f"r{number}", minute=number, images={"podinfo": f"x:{number}"}))
    warned: list[str] = []
    async with running(api, warn=lambda _, text, kind: warned.append(f"{kind} {text}")):
        await until(lambda: state(api, name="r0") == ("Blocked", "Auth"))
        tried = len(server.requests)
        assert tried <= 2  # one attempt; curl may ask once without and once with the header
        api.add(CANARY_RUNS, run("r6", minute=6))
        api.change(SECRETS, NAMESPACE, "git", {"metadata": {}})  # no change
        api.add(SECRETS, secret("another", username="bot", password="right-password"))
        await asyncio.sleep(0.5)
        assert len(server.requests) == tried
        assert condition(api, "Stalled") == ("True", "Auth")
        api.change(SECRETS, NAMESPACE, "git", secret(password="right-password"))
        await until(lambda: settled(api))
    assert len(warned) == 1
    seen = "\n".join(
        [caplog.text, *warned, str(api._objects[GIT_SINKS, NAMESPACE, "fleet"]), *(str(effects(api, f"r{number}")) for number in range(5))]
    )
    for text in ("wrong-password", "right-password", "Ym90O", secret(password="right-password")["data"]["password"]):
        assert text not in seen


@pytest.mark.fault(5)
async def test_a_secret_that_is_mended_while_the_old_one_is_refused_is_tried_at_once(
    server: GitServer, fleet: str, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("canary.gitops.worker.MINUTE", 60)
    await api.watch(SECRETS)
    server.user = ("bot", "right")
    release = threading.Event()
    server.fault = lambda _: not release.wait(60)
    api.add(SECRETS, secret(username="bot", password="wrong"))
    api.add(GIT_SINKS, sink(fleet, repository={"secretRef": {"name": "git"}}))
    api.add(CANARY_RUNS, run("r1"))
    async with running(api):
        await until(lambda: server.requests)
        api.change(SECRETS, NAMESPACE, "git", secret(password="right"))
        await asyncio.sleep(0.05)
        release.set()
        await until(lambda: settled(api))


async def test_a_new_process_tries_blocked_credentials_once(server: GitServer, fleet: str, api: Api) -> None:
    server.user = ("bot", "x-password")
    api.add(SECRETS, secret(username="bot", password="wrong"))
    api.add(GIT_SINKS, sink(fleet, repository={"secretRef": {"name": "git"}}))
    for number in range(3):
        api.add(CANARY_RUNS, run(f"r{number}", minute=number))
    async with running(api):
        await until(lambda: state(api, name="r0")[0] == "Blocked")
    server.requests.clear()
    async with running(api):
        await until(lambda: server.requests)
        await asyncio.sleep(0.3)
    assert len(server.requests) <= 2


@pytest.mark.parametrize("token", [True, False])
@pytest.mark.fault(30)
async def test_secrets_are_fluxs_and_reach_neither_arguments_nor_files(
    server: GitServer, fleet: str, api: Api, tmp_path: Path, token: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[str]] = []
    real = asyncio.create_subprocess_exec

    async def watched(*command: str, **options: object) -> object:
        seen.append(list(command))
        return await real(*command, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(asyncio, "create_subprocess_exec", watched)
    headers: set[str | None] = set()
    server.fault = lambda handler: bool(headers.add(handler.headers.get("Authorization")))
    api.add(SECRETS, secret(**({"bearerToken": "tok-tok-tok"} if token else {"username": "bot", "password": "pw-pw-pw"})))
    api.add(GIT_SINKS, sink(fleet, repository={"secretRef": {"name": "git"}}))
    api.add(CANARY_RUNS, run("r1"))
    folder = tmp_path / "kept"
    folder.mkdir()
    await drained(api, directory=str(folder))
    assert headers == {"Bearer tok-tok-tok" if token else "Basic Ym90OnB3LXB3LXB3"}
    words = ("tok-tok-tok", "pw-pw-pw", "Ym90OnB3")
    assert not any(word in part for command in seen for part in command for word in words)
    assert seen
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert files
    assert not any(word.encode() in path.read_bytes() for path in files for word in words)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"token": "x"}, "username"),
        ({"username": "x"}, "username"),
        ({"bearerToken": "a\nb"}, "line break"),
    ],
)
async def test_a_secret_that_does_not_fit_blocks_until_it_is_mended(
    server: GitServer, fleet: str, api: Api, data: dict[str, str], said: str
) -> None:
    api.add(SECRETS, secret(**data))
    api.add(GIT_SINKS, sink(fleet, repository={"secretRef": {"name": "git"}}))
    api.add(CANARY_RUNS, run("r1"))
    async with running(api):
        await until(lambda: state(api) == ("Blocked", "Rejected"))
        assert said in effects(api, "r1")["record/fleet"]["error"]
        assert server.requests == []
        api.change(SECRETS, NAMESPACE, "git", {"data": dict.fromkeys(data, None) | secret(bearerToken="fine")["data"]})
        await until(lambda: settled(api))


async def test_a_secret_that_is_made_later_is_found(server: GitServer, fleet: str, api: Api) -> None:
    api.add(GIT_SINKS, sink(fleet, repository={"secretRef": {"name": "git"}}))
    api.add(CANARY_RUNS, run("r1"))
    async with running(api):
        await until(lambda: state(api) == ("Blocked", "NotFound"))
        api.add(SECRETS, secret(name="another", bearerToken="x"))
        await asyncio.sleep(0.2)
        assert state(api) == ("Blocked", "NotFound")
        api.add(SECRETS, secret(bearerToken="fine"))
        await until(lambda: settled(api))


# ------------------------------------------------------------------------------------------------------- refused pushes


@pytest.mark.fault(7, 28)
async def test_a_protected_branch_blocks_reverts_and_not_records(server: GitServer, fleet: str, api: Api) -> None:
    server.hook("fleet", "pre-receive", PROTECT)
    api.add(GIT_SINKS, sink(fleet))
    api.add(CANARY_RUNS, run("r1"))
    warned: list[str] = []
    async with running(api, warn=lambda _, text, kind: warned.append(f"{kind} {text}")):
        await until(lambda: state(api, "revert/fleet") == ("Blocked", "Protected"))
        assert "GH006" in effects(api, "r1")["revert/fleet"]["error"]
        assert state(api)[0] == "Done"
        await until(lambda: condition(api) == ("False", "Protected"))
        api.add(CANARY_RUNS, run("r2", outcome="Succeeded", minute=1, images={"podinfo": "x:1"}, canary="other"))
        await until(lambda: state(api, name="r2")[0] == "Done")
        assert condition(api) == ("False", "Protected")
        tried = pushes(server)
        server.hook("fleet", "pre-receive", None)
        await asyncio.sleep(0.3)
        assert pushes(server) == tried  # nobody told us: within the hour
        api.change(GIT_SINKS, NAMESPACE, "fleet", {"spec": {"identity": {"name": "another"}}})
        await until(lambda: settled(api))
        await until(lambda: condition(api) == ("True", "Reachable"))
    assert len(warned) == 1
    assert GOOD in show(server, PATH)


async def test_an_account_that_may_push_is_noticed_with_its_secret(server: GitServer, fleet: str, api: Api) -> None:
    script = '[ "$REMOTE_USER" = admin ] && exit 0; ' + PROTECT
    server.hook("fleet", "pre-receive", script)
    api.add(SECRETS, secret(username="bot", password="pw"))
    api.add(GIT_SINKS, sink(fleet, repository={"secretRef": {"name": "git"}}))
    api.add(CANARY_RUNS, run("r1"))
    server.user = ("bot", "pw")
    async with running(api):
        await until(lambda: state(api, "revert/fleet") == ("Blocked", "Protected"))
        tried = len(server.requests)
        await asyncio.sleep(0.8)  # it asks for the Secret meanwhile, and not for Git
        assert len(server.requests) == tried
        pushed = pushes(server)
        api.change(SECRETS, NAMESPACE, "git", {"metadata": {"labels": {"a": "b"}}})  # another version, and no better
        await until(lambda: pushes(server) > pushed)
        await asyncio.sleep(0.8)
        assert pushes(server) == pushed + 1
        server.user = ("admin", "pw")
        api.change(SECRETS, NAMESPACE, "git", secret(username="admin", password="pw"))
        await until(lambda: settled(api))


async def test_what_is_blocked_is_tried_again_every_hour(server: GitServer, fleet: str, api: Api) -> None:
    clock = Clock()
    server.hook("fleet", "pre-receive", PROTECT)
    api.add(GIT_SINKS, sink(fleet))
    api.add(CANARY_RUNS, run("r1"))
    async with running(api, clock=clock) as outbox:
        await until(lambda: state(api, "revert/fleet")[0] == "Blocked")
        server.hook("fleet", "pre-receive", None)
        clock.ahead += 3500
        outbox._wake.set()
        await asyncio.sleep(0.2)
        assert state(api, "revert/fleet")[0] == "Blocked"
        clock.ahead += 200
        outbox._wake.set()
        await until(lambda: settled(api))


async def test_one_refused_file_does_not_hold_up_the_others(server: GitServer, api: Api) -> None:
    names = ("aa", "bb", "cc", "dd")
    url = server.create("many", {f"apps/{name}.yaml": MANIFEST.replace("podinfo", name) for name in names})
    script = 'while read a b ref; do git diff --name-only $a $b 2>/dev/null | grep -q bb.yaml && { echo "file apps/bb.yaml is locked"; exit 1; }; done; exit 0'
    server.hook("many", "pre-receive", script)
    api.add(GIT_SINKS, sink(url, records={"target": "none"}))
    for number, name in enumerate(names):
        images = {"images": {name: BAD.replace("podinfo", name)}, "previous": {name: GOOD.replace("podinfo", name)}}
        api.add(CANARY_RUNS, run(f"r{number}", canary=name, minute=number, effects=("revert/fleet",), **images))
    async with running(api):
        await until(lambda: [state(api, "revert/fleet", f"r{number}")[0] for number in range(4)] == ["Done", "Blocked", "Done", "Done"])
    assert "apps/bb.yaml is locked" in effects(api, "r1")["revert/fleet"]["error"]
    assert len(subjects(server, "many")) == 4


@pytest.mark.slow
@pytest.mark.fault(7, 32)
async def test_a_closed_branch_is_not_knocked_at_once_for_each_run(server: GitServer, api: Api) -> None:
    names = [f"a{number}" for number in range(10)]
    url = server.create("many", {f"apps/{name}.yaml": MANIFEST.replace("podinfo", name) for name in names})
    server.hook("many", "pre-receive", PROTECT)
    api.add(GIT_SINKS, sink(url))
    for number, name in enumerate(names):
        images = {"images": {name: BAD.replace("podinfo", name)}, "previous": {name: GOOD.replace("podinfo", name)}}
        api.add(CANARY_RUNS, run(f"r{number}", canary=name, minute=number, **images))
    clock = Clock()
    async with running(api, clock=clock) as outbox:
        await until(lambda: condition(api) == ("False", "Protected"))
        assert [state(api, "revert/fleet", f"r{number}")[0] for number in range(10)] == ["Blocked"] * 3 + ["Queued"] * 7
        assert pushes(server) == 1 + 4  # the records, the batch, three alone
        clock.ahead += 3700
        outbox._wake.set()
        await until(lambda: state(api, "revert/fleet", "r5")[0] == "Blocked")  # those that have waited longest come first
        assert effects(api, "r0")["revert/fleet"]["attempts"] == 1
        server.hook("many", "pre-receive", None)
        clock.ahead += 3700
        outbox._wake.set()
        await until(lambda: settled(api))
    assert len(subjects(server, "many")) == 11


@pytest.mark.fault(4)
async def test_a_branch_that_never_stands_still_does_not_hold_up_the_other(
    server: GitServer, fleet: str, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("canary.gitops.effects.TRIES", 3)

    def race(handler: Handler) -> bool:
        if handler.path.startswith("/fleet.git/info/refs") and "receive-pack" in handler.path and b"main" in _fetched:
            server.write("fleet", {"counter": str(time.monotonic())}, message="faster")
        return False

    _fetched = [b"main"]
    server.fault = race
    clock = Clock()
    api.add(GIT_SINKS, sink(fleet))
    api.add(CANARY_RUNS, run("r1"))
    async with running(api, clock=clock) as outbox:
        await until(lambda: state(api, "revert/fleet") == ("Retrying", "Overtaken"))
        assert state(api)[0] == "Done"
        assert outbox.age > 500  # the run ended some minutes ago
        server.fault = None
        clock.ahead += 61
        outbox._wake.set()
        await until(lambda: settled(api))
        assert outbox.age == 0
    assert sum("revert" in line for line in subjects(server)) == 1


@pytest.mark.fault(1)
async def test_a_competing_pusher_costs_a_second_look_and_both_changes_stay(server: GitServer, fleet: str, api: Api) -> None:
    left = [3]

    def race(handler: Handler) -> bool:
        if "info/refs?service=git-receive-pack" in handler.path and left[0]:
            left[0] -= 1
            for branch in ("main", OUTCOMES):
                server.write("fleet", {f"theirs/{left[0]}": "x"}, message="theirs", branch=branch)
        return False

    server.fault = race
    api.add(GIT_SINKS, sink(fleet))
    api.add(CANARY_RUNS, run("r1"))
    await drained(api)
    assert sum("revert" in line for line in subjects(server)) == 1
    assert sum("record(" in line for line in subjects(server, branch=OUTCOMES)) == 1
    assert {f"theirs/{number}" for number in range(3)} <= set(records(server, branch="main"))
    assert server.git("fleet", "rev-list", "--merges", "--all").strip() == ""


@pytest.mark.parametrize("theirs", [GOOD, "ghcr.io/acme/podinfo:7.0.0"])
@pytest.mark.fault(2, 3)
async def test_a_person_who_is_faster_with_the_same_line_wins(server: GitServer, fleet: str, api: Api, theirs: str) -> None:
    def race(handler: Handler) -> bool:
        if "info/refs?service=git-receive-pack" in handler.path and "theirs" not in subjects(server):
            server.write("fleet", {PATH: MANIFEST.replace(BAD, theirs)}, message="theirs")
        return False

    server.fault = race
    api.add(GIT_SINKS, sink(fleet, records={"target": "none"}))
    api.add(CANARY_RUNS, run("r1", effects=("revert/fleet",)))
    await drained(api)
    assert state(api, "revert/fleet") == ("Skipped", "AlreadyReverted" if theirs == GOOD else "Superseded")
    assert theirs in show(server, PATH)
    assert len(subjects(server)) == 2


# ------------------------------------------------------------------------------------------------------- lost replies


@pytest.mark.fault(13)
async def test_a_reply_that_is_lost_after_the_push_doubles_nothing(server: GitServer, fleet: str, api: Api) -> None:
    lost: list[str] = []

    def cut(handler: Handler) -> bool:
        if handler.command == "POST" and handler.path.endswith("git-receive-pack") and len(lost) < 3:
            handler.obey()
            handler.cut()
            lost.append(handler.path)
            return True
        return False

    server.fault = cut
    api.add(GIT_SINKS, sink(fleet))
    api.add(CANARY_RUNS, run("r1"))
    await drained(api)
    assert lost
    assert len(subjects(server)) == 2
    assert len(subjects(server, branch=OUTCOMES)) == 1
    assert effects(api, "r1")["revert/fleet"]["ref"] == server.git("fleet", "rev-parse", "main").strip()


# ------------------------------------------------------------------------------------------------------- the API


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Back off for half a minute, by a clock that a test pushes on."""
    monkeypatch.setattr("canary.gitops.worker.SHORTEST", 30)
    monkeypatch.setattr("canary.gitops.worker.LONGEST", 30)
    return Clock()


async def test_an_api_that_does_not_take_the_note_doubles_nothing_and_is_not_hammered(
    server: GitServer, fleet: str, api: Api, patient: Clock
) -> None:
    api.add(GIT_SINKS, sink(fleet))
    api.add(CANARY_RUNS, run("r1"))
    tried: list[str] = []

    async def fail(what: str) -> None:
        if what == "merge canaryruns":
            tried.append(what)
            raise Retryable("the API server is away")

    api.step = fail
    async with running(api, clock=patient) as outbox:
        await until(lambda: condition(api) == ("False", "Unavailable"))
        await asyncio.sleep(0.4)
        assert len(tried) == 2  # that it is done, and then that this could not be written down
        api.step = _nothing
        patient.ahead += 31
        outbox._wake.set()
        await until(lambda: settled(api))
    assert len(subjects(server)) == 2
    assert len(subjects(server, branch=OUTCOMES)) == 1


async def _nothing(_: str) -> None:
    return None


async def test_a_bug_neither_ends_the_outbox_nor_makes_it_spin(
    server: GitServer, fleet: str, api: Api, patient: Clock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    calls = [0]

    def broken(*_: object, **__: object) -> object:
        calls[0] += 1
        raise KeyError("a bug")

    with monkeypatch.context() as patch:
        patch.setattr("canary.gitops.message.record_message", broken)
        api.add(GIT_SINKS, sink(fleet))
        api.add(CANARY_RUNS, run("r1"))
        async with running(api, clock=patient) as outbox:
            await until(lambda: state(api) == ("Retrying", "Unexpected"))
            await asyncio.sleep(0.4)
            assert calls[0] == 1
            patch.undo()
            patient.ahead += 31
            outbox._wake.set()
            await until(lambda: settled(api))
    assert "KeyError" in caplog.text


@pytest.mark.fault(30)
async def test_a_sink_that_cannot_be_read_says_so_and_works_when_mended(server: GitServer, fleet: str, api: Api) -> None:
    api.add(GIT_SINKS, sink("ext::sh -c x"))
    api.add(CANARY_RUNS, run("r1"))
    async with running(api):
        await until(lambda: state(api) == ("Blocked", "InvalidSpec"))
        assert "spec.repository.url" in effects(api, "r1")["record/fleet"]["error"]
        api.change(GIT_SINKS, NAMESPACE, "fleet", {"spec": {"repository": {"url": fleet}}})
        await until(lambda: settled(api))


async def test_a_sink_that_is_mended_while_it_is_drained_is_drained_anew(server: GitServer, fleet: str, api: Api) -> None:
    api.add(GIT_SINKS, sink(fleet, limits={"allowedPaths": ["infra/**"]}))
    api.add(CANARY_RUNS, run("r1"))

    async def mend(what: str) -> None:
        if what == "merge canaryruns" and condition(api) is None:
            api.change(GIT_SINKS, NAMESPACE, "fleet", {"spec": {"limits": {"allowedPaths": ["apps/**"]}}})

    api.step = mend
    async with running(api):
        await until(lambda: settled(api))
    assert GOOD in show(server, PATH)


async def test_a_sink_that_is_suspended_while_it_waits_for_its_turn_writes_nothing(server: GitServer, fleet: str, api: Api) -> None:
    release = threading.Event()
    server.fault = lambda _: not release.wait(60)
    api.add(GIT_SINKS, sink(fleet, name="first"))
    async with running(api):
        await until(lambda: server.requests)
        api.add(GIT_SINKS, sink(fleet))
        api.add(CANARY_RUNS, run("r1"))
        await asyncio.sleep(0.1)
        api.change(GIT_SINKS, NAMESPACE, "fleet", {"spec": {"suspend": True}})
        await asyncio.sleep(0.1)
        server.fault = None
        release.set()
        await until(lambda: condition(api, name="first") is not None)
        await asyncio.sleep(0.3)
        assert subjects(server) == ["initial"]
        assert records(server) == []


async def test_a_week_of_failures_is_only_a_long_wait(server: GitServer, fleet: str, api: Api) -> None:
    server.stop()
    api.add(GIT_SINKS, sink(fleet))
    api.add(CANARY_RUNS, run("r1"))
    async with running(api) as outbox:
        await until(lambda: state(api)[0] == "Retrying")
        outbox._workers[NAMESPACE, "fleet"]._failures = 5000
        tried = effects(api, "r1")["record/fleet"]["attempts"]
        await until(lambda: effects(api, "r1")["record/fleet"]["attempts"] > tried + 1)


async def test_the_outbox_only_gets_secrets_and_only_its_own(server: GitServer, fleet: str, api: Api) -> None:
    api.add(SECRETS, secret(bearerToken="fine"))
    api.add(SECRETS, secret("other", bearerToken="other"))
    api.add(GIT_SINKS, sink(fleet, repository={"secretRef": {"name": "git"}}))
    api.add(CANARY_RUNS, run("r1"))
    await drained(api)
    assert SECRETS not in api.watching
    assert {request for request in api.requests if request[1] == "secrets"} == {("read", "secrets", "git")}


async def test_a_secret_that_may_not_be_read_blocks_until_it_may(server: GitServer, fleet: str, api: Api) -> None:
    clock = Clock()
    api.add(SECRETS, secret(bearerToken="fine"))
    api.add(GIT_SINKS, sink(fleet, repository={"secretRef": {"name": "git"}}))
    api.add(CANARY_RUNS, run("r1"))
    api.fail("read", SECRETS, Forbidden("secrets is forbidden"))
    async with running(api, clock=clock):
        await until(lambda: state(api) == ("Blocked", "Forbidden"))
        await until(lambda: settled(api))  # the next question is answered


@pytest.mark.fault(10)
async def test_a_damaged_mirror_is_mended_on_the_way(server: GitServer, fleet: str, api: Api, tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    folder.mkdir()
    api.add(GIT_SINKS, sink(fleet))
    api.add(CANARY_RUNS, run("r0", outcome="Succeeded"))
    await drained(api, directory=str(folder))
    for mirror in folder.rglob("mirror.git"):
        (mirror / "shallow.lock").touch()
        for ref in (mirror / "refs" / "canary").iterdir():
            (ref.parent / f"{ref.name}.lock").touch()
    api.add(CANARY_RUNS, run("r1", minute=1))
    await drained(api, directory=str(folder))
    assert state(api, "revert/fleet")[0] == "Done"


# ------------------------------------------------------------------------------------------------------- ssh

SSH = """#!/bin/sh
printf '%s\\n' "$@" >> {log}
for last; do :; done
case "$last" in *"'/fleet.git'") exec ${{last%%\\ *}} {root}/fleet.git;; esac
echo 'Host key verification failed.' >&2; exit 255
"""


@pytest.mark.fault(6)
async def test_ssh_uses_the_key_and_the_known_hosts_of_the_secret_and_no_others(
    server: GitServer, api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "ssh").write_text(SSH.format(log=tmp_path / "ssh.log", root=server.root))
    (tools / "ssh").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:/usr/bin:/bin")
    folder = tmp_path / "kept"
    folder.mkdir()
    api.add(SECRETS, secret(identity="-----BEGIN KEY-----\nabc\n-----END KEY-----", known_hosts="git.example ssh-ed25519 AAAA"))
    api.add(GIT_SINKS, sink("ssh://git@git.example/fleet.git", repository={"secretRef": {"name": "git"}}))
    api.add(GIT_SINKS, sink("git@git.example:other.git", name="wrong", repository={"secretRef": {"name": "git"}}))
    api.add(CANARY_RUNS, run("r1", effects=("record/fleet", "revert/fleet", "record/wrong")))
    async with running(api, directory=str(folder)):
        await until(lambda: state(api, "revert/fleet")[0] == "Done" and state(api, "record/wrong") == ("Blocked", "Auth"))
        identities = list(folder.rglob("identity"))
        assert {path.stat().st_mode & 0o777 for path in identities} == {0o600}
        assert identities[0].read_text().endswith("-----END KEY-----\n")
    arguments = (tmp_path / "ssh.log").read_text().splitlines()
    assert {"StrictHostKeyChecking=yes", "BatchMode=yes", "IdentitiesOnly=yes", "GlobalKnownHostsFile=/dev/null"} <= set(arguments)
    assert any(line.startswith("UserKnownHostsFile=") and Path(line.partition("=")[2]).name == "known_hosts" for line in arguments)
    assert GOOD in show(server, PATH)


@pytest.mark.parametrize(
    ("data", "said"),
    [({}, "identity"), ({"identity": "x"}, "known_hosts"), ({"identity": "x", "known_hosts": "y", "password": "z"}, "passphrase")],
)
@pytest.mark.fault(6)
async def test_ssh_without_known_hosts_is_refused(api: Api, data: dict[str, str], said: str) -> None:
    api.add(SECRETS, secret(**data))
    api.add(GIT_SINKS, sink("git@git.example:fleet.git", repository={"secretRef": {"name": "git"}}))
    api.add(CANARY_RUNS, run("r1"))
    async with running(api):
        await until(lambda: state(api) == ("Blocked", "Rejected"))
    assert said in effects(api, "r1")["record/fleet"]["error"]
