"""`canary rings` on a clone and on a server: what it prints, what it moves, how it ends."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import urllib.request

import pytest
import yaml

from tests.rings.repository import Fleet, manifest
from tests.rings.test_gates_answer_clusters_that_ask import PATH, PLAN

pytestmark = pytest.mark.slow

LATER = "--at=2099-01-01T00:00:00Z"


@pytest.fixture
def fleet(server, tmp_path):
    plan = {**PLAN, "spec": {**PLAN["spec"], "mode": "branch"}}
    fleet = Fleet(server, tmp_path, {"apps/podinfo.yaml": manifest("6.0.0"), PATH: yaml.safe_dump(plan)})
    for ring in ("first", "second", "third"):
        fleet.git("branch", ring, "main")
    fleet.release("6.1.0")
    fleet.say("first-0", "6.1.0", ago=60)
    return fleet


def canary(*arguments, **more):
    return subprocess.run(
        [sys.executable, "-m", "canary.cli.main", "rings", *arguments], capture_output=True, text=True, timeout=60, **more
    )


def test_lines_and_json_say_where_a_release_stands_and_why(fleet):
    done = canary("--repo", str(fleet.server.root / "fleet.git"), "--plan", PATH, LATER)
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    assert [row[1:4] for row in rows[:3]] == [["first", "passed", "1/1"], ["second", "open", "0/2"], ["third", "waiting", "0/2"]]
    assert rows[2][4] == "ring second has not passed"
    assert "to do: ring second to 6.1.0-" in done.stderr
    assert done.returncode == 0
    shown = json.loads(canary("--repo", fleet.url, "--plan", PATH, "--json", LATER).stdout)
    assert [one["phase"] for one in shown["releases"][0]["rings"]] == ["passed", "open", "waiting"]
    assert shown["releases"][0]["images"] == ["ghcr.io/acme/podinfo:6.1.0", "ghcr.io/acme/sidecar:1.0"]
    assert [move["ring"] for move in shown["moves"]] == ["first", "second"]
    assert fleet.head("second") != fleet.head("main")  # showing moves nothing


def test_a_terminal_gets_a_table(fleet):
    main, other = pty.openpty()
    command = [sys.executable, "-m", "canary.cli.main", "rings", "--repo", str(fleet.server.root / "fleet.git"), "--plan", PATH, LATER]
    process = subprocess.Popen(command, stdout=other, stderr=subprocess.DEVNULL, env={**os.environ, "TERM": "xterm", "COLUMNS": "140"})
    os.close(other)
    text = b""
    try:
        while part := os.read(main, 65536):
            text += part
    except OSError:  # the other end is closed
        pass
    os.close(main)
    assert process.wait() == 0
    assert "podinfo: prod/podinfo, mode branch" in text.decode()


@pytest.mark.slow
def test_apply_moves_rings_and_ends_with_1_on_a_halt(fleet, tmp_path):
    done = canary("apply", "--repo", fleet.url, "--plan", PATH, "--cache", str(tmp_path / "cache"))
    assert done.returncode == 0, done.stderr
    assert fleet.head("second") == fleet.head("main")
    fleet.say("second-1", "6.1.0", result="Failed")
    done = canary("apply", "--repo", fleet.url, "--plan", PATH, "--cache", str(tmp_path / "cache"))
    assert done.returncode == 1
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    assert [row[1:3] for row in rows[:3]] == [["first", "passed"], ["second", "halted"], ["third", "waiting"]]
    assert rows[2][4] == "waiting behind the halt in ring second"


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--plan", "nowhere.yaml"], 4, "nowhere.yaml does not exist"),
        (["--plan", PATH, "--at", "noon"], 2, "is no time"),
        (["--plan", PATH, "--at", "2027-01-01"], 2, "has no time zone"),
        (["apply", "--plan", PATH], 1, "a folder is only read"),
        (["serve", "--plan", PATH, LATER], 2, "--at goes with show"),
        (["--plan", "notes.txt"], 1, "must be an object"),
    ],
)
def test_what_cannot_be_done_is_one_line(fleet, arguments, code, said):
    fleet.write({"notes.txt": "hello\n"})
    done = canary("--repo", str(fleet.server.root / "fleet.git"), *arguments)
    assert done.returncode == code
    assert said in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_serve_answers_until_it_is_told_to_stop(fleet):
    command = [sys.executable, "-m", "canary.cli.main", "rings", "serve", "--repo", fleet.url, "--plan", PATH, "--port", "0"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    address = process.stderr.readline().split()[-1]
    while True:
        with urllib.request.urlopen(f"http://{address}/rings") as reply:
            if (shown := json.load(reply))["fresh"]:
                break
    assert shown["plans"][0]["plan"] == "podinfo"
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=20) == 0
    process.stderr.close()
