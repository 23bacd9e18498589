"""Commands: how they run, what is answered, what is remembered."""

from __future__ import annotations

import os
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.loadtest.support import LoadTester, QuickLoadTester, hook, program, wait_until

pytestmark = pytest.mark.slow


def test_cmd_is_answered_at_once_whatever_the_command_does_later(server: LoadTester) -> None:
    began = time.monotonic()
    reply = server.post("/", hook("echo to stdout; echo to stderr >&2; sleep 0.4; exit 7"))
    assert time.monotonic() - began < 0.4
    assert (reply.status_code, reply.text) == (202, "")
    assert server.task(reply.headers["X-Task-Id"])["state"] == "running"
    task = server.finished(reply)
    assert (task["state"], task["exitCode"], task["output"]) == ("failed", 7, "to stdout\nto stderr\n")
    assert task["durationSeconds"] >= 0.4


def test_the_list_of_tasks_holds_everything_but_output(server: LoadTester) -> None:
    reply = server.post("/", hook("echo listed", type="bash"))
    tasks = server.client.get("/tasks").json()["tasks"]
    task = next(task for task in tasks if task["id"] == reply.headers["X-Task-Id"])
    assert "output" not in task
    assert {
        key: task[key] for key in ("type", "command", "name", "namespace", "phase", "checksum", "state", "exitCode", "outputBytes")
    } == {
        "type": "bash",
        "command": "echo listed",
        "name": "podinfo",
        "namespace": "test",
        "phase": "Progressing",
        "checksum": "85d557f47b",
        "state": "succeeded",
        "exitCode": 0,
        "outputBytes": 7,
    }
    assert task["startedAt"] <= task["finishedAt"]
    assert task["id"] not in [found["id"] for found in server.client.get("/tasks?state=failed").json()["tasks"]]


def test_a_blocking_task_answers_with_its_outcome(server: LoadTester) -> None:
    silent = server.post("/", hook("echo quiet", type="bash"))
    assert (silent.status_code, silent.text) == (200, "")
    loud = server.post("/", hook("echo loud", type="bash", returnCmdOutput="true"))
    assert (loud.status_code, loud.text) == (200, "loud\n")
    failed = server.post("/", hook("echo why; exit 3", type="bash"))
    assert (failed.status_code, failed.text) == (500, "command echo why; exit 3 failed: why\n: exit status 3")
    killed = server.post("/", hook("kill -9 $$", type="bash"))
    assert (killed.status_code, killed.text) == (500, "command kill -9 $$ failed: : signal: Killed")


def test_the_answer_waits_for_output_that_is_still_to_come(server: LoadTester) -> None:
    reply = server.post("/", hook("(sleep 0.3; echo late) & echo early", type="bash", returnCmdOutput="true"))
    assert (reply.status_code, reply.text) == (200, "early\nlate\n")


def test_bash_runs_in_bash_and_cmd_in_sh(server: LoadTester) -> None:
    reply = server.post("/", hook("x=(a b); echo ${x[1]} ${BASH_VERSION:+bash}", type="bash", returnCmdOutput="true"))
    assert reply.text == "b bash\n"
    assert server.finished(server.post("/", hook("echo $0")))["output"] == "sh\n"


def test_commands_have_no_input_to_wait_for(server: LoadTester) -> None:
    assert server.post("/", hook("cat", type="bash")).status_code == 200


@pytest.mark.parametrize(("kind", "name"), [("kubectl", "kubectl"), ("helm", "helm"), ("helmv3", "helm")])
def test_kubectl_and_helm_get_their_words_unbroken(quick: Callable[..., QuickLoadTester], tmp_path: Path, kind: str, name: str) -> None:
    program(tmp_path / "bin", name, 'printf "<%s>" "$@"')
    server = quick(path=f"{tmp_path / 'bin'}:{os.defpath}")
    reply = server.post("/", hook("""run x --overrides='{"a": 1}' "two words" $HOME ;""", type=kind, returnCmdOutput="true"))
    assert (reply.status_code, reply.text) == (200, '<run><x><--overrides={"a": 1}><two words><$HOME><;>')
    assert server.task(reply.headers["X-Task-Id"])["command"].startswith(f"{name} run x ")


def test_a_program_that_the_image_lacks_is_named(quick: Callable[..., QuickLoadTester], tmp_path: Path) -> None:
    server = quick(path=str(tmp_path))
    for kind, name in (("kubectl", "kubectl"), ("helm", "helm"), ("helmv3", "helm")):
        reply = server.post("/", hook("version", type=kind))
        assert (reply.status_code, reply.text) == (400, f"{name} is not in this image; use an image that has it on PATH")
    reply = server.post("/", hook("true", type="bash"))
    assert (reply.status_code, reply.text) == (500, "command true failed: : it cannot be started: No such file or directory")


def test_an_identical_command_is_not_started_twice_while_it_runs(server: LoadTester, tmp_path: Path) -> None:
    counter = tmp_path / "count"
    payload = hook(f"echo run >> {counter}; sleep 0.5")
    first = server.post("/", payload)
    again = [server.post("/", {**payload, "phase": "Waiting"}) for _ in range(3)]
    other_canary = server.post("/", {**payload, "name": "other"})
    assert [reply.status_code for reply in (first, *again, other_canary)] == [202] * 5
    assert {reply.headers["X-Task-Id"] for reply in again} == {first.headers["X-Task-Id"]}
    assert other_canary.headers["X-Task-Id"] != first.headers["X-Task-Id"]
    server.finished(first)
    server.finished(other_canary)
    assert counter.read_text() == "run\nrun\n"
    later = server.post("/", payload)
    assert later.headers["X-Task-Id"] != first.headers["X-Task-Id"]
    server.finished(later)
    assert counter.read_text() == "run\nrun\nrun\n"


def test_each_caller_of_a_blocking_task_gets_a_run_of_its_own(server: LoadTester, tmp_path: Path) -> None:
    counter = tmp_path / "count"
    payload = hook(f"echo run >> {counter}; sleep 0.3", type="bash")
    ids: list[str] = []
    threads = [threading.Thread(target=lambda: ids.append(server.post("/", payload).headers["X-Task-Id"])) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(ids)) == 3
    assert counter.read_text() == "run\n" * 3


def test_over_the_bound_callers_are_told_to_come_back(quick: Callable[..., QuickLoadTester]) -> None:
    server = quick("-max-concurrency=2")
    first = server.post("/", hook("sleep 0.6"))
    second = server.post("/", hook("sleep 0.61"))
    for refused in (server.post("/", hook("sleep 0.62")), server.post("/", hook("true", type="bash"))):
        assert refused.status_code == 429
        assert refused.headers["Retry-After"] == "5"
        assert "2 tasks are running" in refused.text
    assert server.post("/", hook("sleep 0.6")).status_code == 202, "a duplicate needs no place"
    assert server.metric("loadtester_tasks_running") == 2
    assert server.metric('loadtester_tasks_total{result="duplicate",type="cmd"}') == 1
    assert server.metric('loadtester_tasks_total{result="rejected",type="cmd"}') == 1
    server.finished(first)
    server.finished(second)
    assert server.post("/", hook("true", type="bash")).status_code == 200
    assert server.metric("loadtester_tasks_running") == 0


def test_endless_output_is_kept_by_its_ends(quick: Callable[..., QuickLoadTester]) -> None:
    server = quick("-max-output=2KiB")
    reply = server.post(
        "/", hook("echo first; head -c 5000000 /dev/zero | tr '\\0' x; echo; echo last", type="bash", returnCmdOutput="true")
    )
    assert reply.status_code == 200
    assert reply.text.startswith("first\nxxxx")
    assert reply.text.endswith("xxxx\nlast\n")
    left_out = 5000000 + len("first\n\nlast\n") - 2048
    assert f"\n... {left_out} bytes left out ...\n" in reply.text
    task = server.task(reply.headers["X-Task-Id"])
    assert (task["outputBytes"], task["outputLeftOut"]) == (left_out + 2048, left_out)


def test_log_lines_name_the_canary_and_show_output_when_asked(server: LoadTester) -> None:
    shown, hidden = uuid.uuid4().hex, uuid.uuid4().hex
    server.finished(server.post("/", hook(f"printf %s {shown}", logCmdOutput="true")))
    server.finished(server.post("/", hook(f"printf %s {hidden}")))
    lines = wait_until(lambda: len(found := server.lines("command finished printf")) >= 2 and found)
    assert {line["level"] for line in lines} == {"info"}
    assert {line["canary"] for line in lines} == {"podinfo.test"}
    assert [line["output"] for line in lines if shown in line["msg"]] == [shown]
    assert ["output" in line for line in lines if hidden in line["msg"]] == [False]
    assert all(line["ts"].endswith("Z") for line in lines)


def test_only_the_last_200_finished_tasks_are_remembered(quick: Callable[..., QuickLoadTester]) -> None:
    server = quick()
    ids = [server.post("/", hook("exit 0", type="bash")).headers["X-Task-Id"] for _ in range(205)]
    listed = [task["id"] for task in server.client.get("/tasks").json()["tasks"]]
    assert listed == ids[:4:-1]
    assert server.client.get(f"/tasks/{ids[0]}").status_code == 404


def test_many_callers_at_once_each_get_their_own_answer(server: LoadTester) -> None:
    replies: dict[int, str] = {}

    def call(number: int) -> None:
        replies[number] = server.post("/", hook(f"sleep 0.1; echo {number}", type="bash", returnCmdOutput="1")).text

    threads = [threading.Thread(target=call, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert replies == {number: f"{number}\n" for number in range(16)}
