"""Who may call, and how the server refuses to start without what it was told to use."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from loadtest.access import AccessError, TokenGuard
from tests.loadtest.support import LoadTester, QuickLoadTester, gate_payload, hook, refusal

PROTECTED = [
    ("POST", "/"),
    ("POST", "/gate/check"),
    ("POST", "/gate/open"),
    ("POST", "/gate/approve"),
    ("GET", "/gate/list"),
    ("GET", "/tasks"),
    ("GET", "/tasks/x"),
]


def test_with_a_token_only_health_and_metrics_are_open(quick: Callable[..., QuickLoadTester]) -> None:
    server = quick("-token=s3cret")
    assert server.client.get("/healthz").status_code == 200
    assert server.client.get("/metrics").status_code == 200
    wrong = [
        "",
        "Bearer",
        "Bearer wrong",
        "bearer s3cre",
        "Bearer s3cret2",
        "Digest s3cret",
        "s3cret",
        "Basic s3cret",
        "Basic Om5v",
        "Bearer caf\u00e9",
    ]
    for method, path in PROTECTED:
        for header in wrong:
            reply = server.client.request(method, path, json=gate_payload(), headers={"Authorization": header.encode()} if header else {})
            assert (reply.status_code, "Bearer" in reply.headers["WWW-Authenticate"]) == (401, True)
    allowed = server.client.post("/", json=hook("true", type="bash"), headers={"Authorization": "Bearer s3cret"})
    assert allowed.status_code == 200


def test_credentials_in_the_url_work_because_flagger_has_no_other_place(quick: Callable[..., QuickLoadTester]) -> None:
    server = quick("-token=s3cret")
    url = server.url.replace("http://", "http://ada:s3cret@")
    assert server.client.post(f"{url}/gate/open", json=gate_payload(by="mallory")).status_code == 202
    listed = server.client.get("/gate/list", auth=("x", "s3cret")).json()["gates"]
    assert [gate["by"] for gate in listed] == ["ada"], "the name that came with the token counts, not the claim in the body"


def test_a_rotated_token_file_is_followed(quick: Callable[..., QuickLoadTester], tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("one\n")
    server = quick(f"-token-file={file}")

    def status(token: str) -> int:
        return server.client.get("/tasks", headers={"Authorization": f"Bearer {token}".strip()}).status_code

    assert (status("one"), status("two")) == (200, 401)
    fresh = tmp_path / "fresh"
    fresh.write_text("two")
    fresh.replace(file)
    assert (status("one"), status("two")) == (401, 200)
    file.unlink()
    assert (status("one"), status("two"), status("")) == (401, 200, 401)
    file.write_text("")
    assert (status("two"), status("")) == (200, 401)


def test_the_namespace_pattern_must_match_the_whole_name(quick: Callable[..., QuickLoadTester]) -> None:
    server = quick("-namespace-regexp=prod|team-.*")
    for namespace, served in (("prod", True), ("team-a", True), ("not-prod", False), ("prod2", False), ("", False)):
        payload = {"name": "podinfo", "namespace": namespace}
        reply = server.post("/", {**payload, "metadata": {"type": "bash", "cmd": "true"}})
        assert reply.status_code == (200 if served else 403)
        assert server.post("/gate/open", payload).status_code == (202 if served else 403)
    assert f"namespace {'prod2'!r} is not served" in server.post("/", {"namespace": "prod2", "metadata": {"cmd": "true"}}).text
    listed = server.client.get("/gate/list").json()["gates"]
    assert {gate["namespace"] for gate in listed} == {"prod", "team-a"}
    assert [gate["namespace"] for gate in server.client.get("/gate/list?namespace=prod").json()["gates"]] == ["prod"]


def test_a_server_without_a_token_says_so(server: LoadTester) -> None:
    assert server.lines("no token is set: whoever can reach this port can run commands here")


@pytest.mark.parametrize(("content", "words"), [(None, "cannot be read"), ("  \n", "is empty")])
def test_a_token_file_without_a_token_stops_the_start(tmp_path: Path, content: str | None, words: str) -> None:
    file = tmp_path / "token"
    if content is not None:
        file.write_text(content)
    with pytest.raises(AccessError, match=words):
        TokenGuard(token_file=file)


def test_a_port_that_is_taken_stops_the_start(server: LoadTester, tmp_path: Path) -> None:
    code, logs = refusal(tmp_path, f"-port={server.url.rpartition(':')[2]}")
    assert code == 1
    assert "cannot listen on port" in logs[-1]["msg"]
    assert "ddress already in use" in logs[-1]["msg"]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["-prot=1"], "flag -prot is not known"),
        (["-port"], "flag -port needs a value"),
        (["-port=http"], "flag -port: 'http' is no whole number"),
        (["--port=70000"], "flag -port: 70000 must be between 0 and 65535"),
        (["-timeout=5"], "flag -timeout: '5' is no duration"),
        (["-namespace-regexp=("], "flag -namespace-regexp: '(' is no regular expression"),
        (["-log-level=loud"], "flag -log-level: 'loud' must be one of debug, info"),
        (["-zap-encoding=xml"], "flag -zap-encoding: 'xml' must be one of json, console"),
        (["-max-output=1"], "flag -max-output: '1' must be between 1KiB and 16MiB"),
        (["-max-concurrency=0"], "flag -max-concurrency: 0 must be at least 1"),
        (["-token=a", "-token-file=b"], "exclude one another"),
        (["serve"], "'serve' is no flag"),
    ],
)
def test_a_wrong_command_line_is_one_clear_line(flags: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    from loadtest.server import main

    assert main(flags) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1


def test_help_lists_every_flag_with_its_default(capsys: pytest.CaptureFixture[str]) -> None:
    from loadtest.options import FLAGS
    from loadtest.server import main

    assert main(["-help"]) == 0
    shown = capsys.readouterr().out
    assert all(f"  -{flag.name}\n" in shown for flag in FLAGS)
    assert "(default 9090)" in shown
    assert "(default 1h)" in shown


def test_logs_can_be_for_people(start: Callable[..., LoadTester], tmp_path: Path) -> None:
    found = subprocess.run(
        [sys.executable, "-m", "loadtest", "-zap-encoding=console", "-zap-replace-globals", f"-token-file={tmp_path / 'absent'}"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ},
        timeout=20,
    )
    time_of_day, level, message = found.stderr.strip().split("\t")
    assert (found.returncode, level, time_of_day[-1]) == (1, "fatal", "Z")
    assert "absent cannot be read" in message
