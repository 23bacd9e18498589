"""With an allow-list exactly one allowed program runs per hook, whatever the line says."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from loadtest.commands import build_command
from loadtest.payload import HookError, Payload
from tests.loadtest.support import LoadTester, QuickLoadTester, hook, program


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    """A PATH with `hey` and `curl` that print their words, and `evil` that leaves a mark."""
    directory = tmp_path / "bin"
    program(directory, "hey", 'printf "<%s>" "$0" "$@"')
    program(directory, "curl", 'printf "<%s>" "$@"')
    program(directory, "evil", f"touch {tmp_path / 'mark'}")
    return directory


EVASIONS = [
    "evil",
    "hey; evil",
    "hey && evil",
    "hey & evil",
    "hey | evil",
    "hey || evil",
    "hey `evil`",
    "hey $(evil)",
    "hey <(evil)",
    "hey > /etc/passwd",
    "hey < /etc/passwd",
    "hey\nevil",
    "hey\r\nevil",
    "(evil)",
    "{ evil; }",
    "'hey'; evil",
    '"$(evil)"',
    "hey ${IFS}evil",
    "PATH=. hey",
    "X=1 evil",
    "./hey",
    "/bin/sh -c evil",
    "../bin/evil",
    "sh -c evil",
    "env hey",
    "exec evil",
    "eval evil",
    "! evil",
    "ev''il",
    "\\evil",
    "HEY",
    "hey\u00a0x; evil",
    "time evil",
    "function hey { evil; }",
    "alias hey=evil",
    "if true",
    "''",
]


@pytest.mark.parametrize("kind", ["cmd", "bash"])
@pytest.mark.parametrize("line", EVASIONS)
def test_an_evasion_is_refused(tools: Path, kind: str, line: str) -> None:
    payload = Payload(name="podinfo", namespace="test", metadata={"type": kind, "cmd": line})
    with pytest.raises(HookError) as caught:
        build_command(payload, allowed=("hey",), path=str(tools))
    assert caught.value.status == 403


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    line=st.one_of(
        st.text(max_size=60),
        st.lists(st.sampled_from(["hey", "evil", " ", ";", "'", '"', "\\", "\n", "$", "=", "/", "\t", "#", "{", "*"]), max_size=12).map(
            "".join
        ),
    )
)
def test_whatever_is_let_through_starts_the_allowed_program_itself(tools: Path, line: str) -> None:
    payload = Payload(name="podinfo", namespace="test", metadata={"type": "bash", "cmd": line})
    try:
        command = build_command(payload, allowed=("hey",), path=str(tools))
    except HookError:
        return
    assert command.argv == (str(tools / "hey"), *shlex.split(line)[1:])


def test_the_allow_list_holds_over_http(quick: Callable[..., QuickLoadTester], tools: Path, tmp_path: Path) -> None:
    server = quick("-allow-cmd=hey", "-allow-cmd=curl,kubectl", path=f"{tools}:{os.defpath}")
    for line in EVASIONS:
        assert server.post("/", hook(line, type="bash")).status_code == 403
    assert not (tmp_path / "mark").exists()
    reply = server.post("/", hook("hey -H 'a: b c' http://podinfo:9898/*  ~ #x", type="bash", returnCmdOutput="true"))
    assert reply.text == f"<{tools / 'hey'}><-H><a: b c><http://podinfo:9898/*><~><#x>"
    assert server.post("/", hook("curl -s x")).status_code == 202
    refused = server.post("/", hook("evil"))
    assert refused.text == "program 'evil' is not allowed here; allowed are: hey, curl, kubectl"


def test_the_allow_list_covers_helm_and_kubectl_too(quick: Callable[..., QuickLoadTester], tmp_path: Path) -> None:
    program(tmp_path / "bin", "kubectl", "exit 0")
    program(tmp_path / "bin", "helm", "exit 0")
    server = quick("-allow-cmd=kubectl", path=f"{tmp_path / 'bin'}:{os.defpath}")
    assert server.post("/", hook("get pods; ls", type="kubectl")).status_code == 200
    assert server.post("/", hook("test podinfo", type="helm")).status_code == 403


def test_programs_that_start_others_are_warned_of(start: Callable[..., LoadTester]) -> None:
    server = start("-allow-cmd=hey,env,bash")
    (line,) = server.lines("allow-list holds programs that start any other program")
    assert line["msg"].endswith("bash, env")
