"""Paths, methods, statuses and replies: the table that plain Flagger manifests rely on."""

from __future__ import annotations

import uuid

import pytest

from tests.loadtest.support import CANARY, LoadTester, hook


@pytest.mark.parametrize(
    ("path", "status", "reply"),
    [
        ("/healthz", 200, "OK"),
        ("/gate/approve", 200, "OK"),
        ("/gate/halt", 403, "Forbidden"),
        ("/gate/check", 403, "Forbidden"),
        ("/rollback/check", 403, "Forbidden"),
        ("/gate/close", 202, ""),
        ("/rollback/close", 202, ""),
    ],
)
@pytest.mark.parametrize("method", ["POST", "PUT", "GET"])
def test_fixed_replies_do_not_depend_on_the_method(server: LoadTester, method: str, path: str, status: int, reply: str) -> None:
    payload = {"name": "table", "namespace": "test"}
    found = server.client.request(method, path, json=payload)
    assert (found.status_code, found.text) == (status, reply)


@pytest.mark.parametrize("kind", ["gate", "rollback"])
def test_a_gate_opens_and_closes(server: LoadTester, kind: str) -> None:
    payload = {"name": f"switch-{uuid.uuid4().hex}", "namespace": "test"}
    replies = []
    for verb in ("check", "open", "check", "close", "check"):
        found = server.post(f"/{kind}/{verb}", payload)
        replies.append((found.status_code, found.text))
    assert replies == [(403, "Forbidden"), (202, ""), (200, "Approved"), (202, ""), (403, "Forbidden")]


def test_gates_and_rollback_gates_are_separate(server: LoadTester) -> None:
    payload = {"name": f"apart-{uuid.uuid4().hex}", "namespace": "test"}
    server.post("/gate/open", payload)
    assert server.post("/rollback/check", payload).status_code == 403
    assert server.post("/gate/check", {**payload, "namespace": "prod"}).status_code == 403


def test_gates_are_opened_by_curl_without_a_json_content_type(server: LoadTester) -> None:
    body = '{"name": "curl", "namespace": "test"}'
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    assert server.client.post("/gate/open", content=body, headers=form).status_code == 202
    assert server.client.post("/gate/check", content=body, headers=form).text == "Approved"


@pytest.mark.parametrize("path", ["/", "/load", "/gate/other", "/a/b/c", "/tasks", "/tasks/x"])
def test_every_other_path_is_a_task_submission(server: LoadTester, path: str) -> None:
    reply = server.post(path, hook("true", type="bash"))
    assert (reply.status_code, reply.text) == (200, "")
    assert len(reply.headers["X-Task-Id"]) == 16


@pytest.mark.parametrize(
    ("payload", "words"),
    [
        (CANARY, "metadata not found in payload"),
        ({**CANARY, "metadata": {}}, "metadata not found in payload"),
        ({**CANARY, "metadata": None}, "metadata not found in payload"),
        (hook(type="cmd"), "cmd not found in metadata"),
        (hook(type="bash"), "cmd not found in metadata"),
        (hook("  ", type="kubectl"), "cmd not found in metadata"),
        (hook("true", type="k6"), "unknown task type k6"),
        (hook(type="ngrinder", server="s", clone="1"), "ngrinder is not supported: start the test through"),
        (hook(type="concord", server="s"), "concord is not supported: start the process through"),
        (hook("true", timeout="5"), "metadata.timeout: '5' is no duration"),
        (hook("true", timeout="0s"), "metadata.timeout: '0s' must be longer"),
        (hook("echo 'open", type="kubectl"), "cannot be split into words: No closing quotation"),
        (hook("a\0b"), "NUL"),
    ],
)
def test_a_task_that_cannot_be_understood_is_refused_with_a_reason(server: LoadTester, payload: object, words: str) -> None:
    reply = server.post("/", payload)
    assert reply.status_code == 400
    assert words in reply.text


@pytest.mark.parametrize("path", ["/", "/gate/check", "/gate/open", "/rollback/close"])
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'"text"',
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"name": 7}',
        b'{"namespace": {}}',
        b'{"metadata": []}',
        b'{"metadata": {"cmd": true}}',
        b'{"metadata": {"cmd": "\\ud800"}}',
        b'{"metadata": {"\\udfff": "x"}}',
    ],
)
def test_a_bad_body_is_answered_with_400_and_a_sentence(server: LoadTester, path: str, body: bytes) -> None:
    reply = server.client.post(path, content=body)
    assert reply.status_code == 400
    assert reply.text
    assert "Traceback" not in reply.text


@pytest.mark.parametrize("path", ["/", "/gate/open"])
def test_an_endless_body_is_refused(server: LoadTester, path: str) -> None:
    reply = server.post(path, hook("x" * (1024 * 1024)))
    assert reply.status_code == 413


@pytest.mark.parametrize(
    ("payload", "words"),
    [
        ({"namespace": "test"}, "name '' is not"),
        ({"name": "podinfo"}, "namespace '' is not"),
        ({"name": "Pod Info", "namespace": "test"}, "name 'Pod Info'"),
        ({"name": "podinfo", "namespace": "a.b"}, "namespace 'a.b'"),
        ({"name": "podinfo", "namespace": "test", "metadata": {"gate": "a/b"}}, "metadata.gate 'a/b'"),
    ],
)
def test_a_gate_needs_a_canary_that_can_exist(server: LoadTester, payload: object, words: str) -> None:
    for verb in ("open", "check", "close"):
        reply = server.post(f"/gate/{verb}", payload)
        assert reply.status_code == 400
        assert words in reply.text


def test_an_unknown_task_is_not_found(server: LoadTester) -> None:
    reply = server.client.get("/tasks/nosuch")
    assert reply.status_code == 404
    assert "nosuch" in reply.text


@pytest.mark.parametrize(
    ("payload", "path", "status"),
    [
        # The shapes that Flagger 1.44 sends for its eight hook types.
        ({"name": "podinfo", "namespace": "test", "phase": "Initialized", "checksum": "758df7c9fc"}, "/gate/approve", 200),
        ({"name": "podinfo", "namespace": "test", "phase": "Waiting", "checksum": "758df7c9fc"}, "/gate/halt", 403),
        ({**CANARY, "metadata": {"type": "bash", "cmd": "echo anon | grep anon"}}, "/", 200),
        ({**CANARY, "metadata": {"type": "bash", "cmd": "echo anon | grep token"}}, "/", 500),
        ({**CANARY, "metadata": {"cmd": "true", "logCmdOutput": "true"}}, "/", 202),
        ({**CANARY, "metadata": {"type": "cmd", "cmd": "exit 1", "logCmdOutput": "maybe"}}, "/", 202),
        ({**CANARY, "phase": "Succeeded", "metadata": {"type": "cmd", "cmd": "echo done"}}, "/", 202),
        ({**CANARY, "metadata": {"eventMessage": "New revision", "eventType": "Normal", "timestamp": "1578607635167"}}, "/", 400),
        ({**CANARY, "metadata": {"some": "message"}}, "/gate/check", 403),
        ({**CANARY, "metadata": {"some": "message"}}, "/rollback/check", 403),
    ],
)
def test_plain_flagger_payloads_are_answered_as_upstream_does(server: LoadTester, payload: object, path: str, status: int) -> None:
    assert server.post(path, payload).status_code == status


def test_metrics_are_exposed_in_the_text_format(server: LoadTester) -> None:
    before = server.metric('loadtester_tasks_total{result="succeeded",type="bash"}')
    rejected = server.metric('loadtester_tasks_total{result="rejected",type="other"}')
    server.post("/", hook("true", type="bash"))
    server.post("/", hook("true", type="made-up-type"))
    reply = server.client.get("/metrics")
    assert reply.headers["Content-Type"].startswith("text/plain; version=")
    assert server.metric('loadtester_tasks_total{result="succeeded",type="bash"}') == before + 1
    assert server.metric('loadtester_tasks_total{result="rejected",type="other"}') == rejected + 1
    assert (
        server.metric('loadtester_task_duration_seconds_count{type="bash"}')
        == before
        + sum(server.metric(f'loadtester_tasks_total{{result="{result}",type="bash"}}') for result in ("failed", "timeout", "cancelled"))
        + 1
    )
    assert "made-up-type" not in reply.text
    assert server.metric("loadtester_gate_state_readable") == 1
