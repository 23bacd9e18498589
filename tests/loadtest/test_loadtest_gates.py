"""Gates: identity, expiry, and what happens to the file when disks, people and processes fail."""

from __future__ import annotations

import errno
import json
import os
import signal
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from loadtest import gates as gates_module
from loadtest.gate_file import FileKeeping
from loadtest.gates import Gate, GateError, GateKey, GateStore, MemoryKeeping
from tests.loadtest.support import LoadTester, QuickLoadTester, gate_payload, refusal, wait_until

NOON = datetime(2026, 1, 2, 12, 0, tzinfo=UTC)
KEY = GateKey.of("gate", namespace="test", name="podinfo")


def opened(name: str = "podinfo", *, minutes: int = 0, lasting: timedelta | None = None, is_open: bool = True) -> Gate:
    at = NOON + timedelta(minutes=minutes)
    key = GateKey.of("gate", namespace="test", name=name)
    return Gate(key=key, open=is_open, changed_at=at, expires_at=at + lasting if lasting else None, by="ada")


def test_keys_read_as_upstream_writes_them() -> None:
    assert str(KEY) == "podinfo.test"
    assert str(GateKey.of("rollback", namespace="test", name="podinfo")) == "rollback.podinfo.test"
    assert str(GateKey.of("gate", namespace="test", name="podinfo", gate="legal")) == "podinfo.test/legal"


def test_an_opening_ends_when_it_expires() -> None:
    moment = [NOON]
    store = GateStore(MemoryKeeping(), clock=lambda: moment[0])
    store.put(opened(lasting=timedelta(minutes=5)))
    assert store.is_open(KEY)
    moment[0] = NOON + timedelta(minutes=5)
    assert not store.is_open(KEY)
    shown = store.all()[KEY].view(moment[0])
    assert (shown["open"], shown["expired"]) == (False, True)


def test_a_full_store_forgets_the_oldest_closed_gate_and_never_an_open_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gates_module, "MAX_GATES", 3)
    store = GateStore(MemoryKeeping(), clock=lambda: NOON + timedelta(hours=1))
    store.put(opened("a", minutes=1))
    store.put(opened("b", minutes=3, is_open=False))
    store.put(opened("c", minutes=2, is_open=False))
    store.put(opened("d", minutes=4))
    assert {key.name for key in store.all()} == {"a", "b", "d"}
    store.put(opened("e", minutes=5, lasting=timedelta(hours=8)))
    assert {key.name for key in store.all()} == {"a", "d", "e"}
    with pytest.raises(GateError, match="3 gates are open"):
        store.put(opened("f"))
    store.put(opened("a", minutes=6, is_open=False))
    store.put(opened("f"))
    assert {key.name for key in store.all()} == {"d", "e", "f"}


def test_a_failed_write_changes_nothing_and_leaves_no_litter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keeping = FileKeeping(tmp_path)
    store = GateStore(keeping, clock=lambda: NOON)
    store.put(opened())
    before = (tmp_path / "gates.json").read_bytes()

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(GateError, match=r"gates\.json cannot be written: No space left on device"):
        store.put(opened("other"))
    assert (tmp_path / "gates.json").read_bytes() == before
    assert {file.name for file in tmp_path.iterdir()} == {"gates.json", "gates.lock"}
    assert set(store.all()) == {KEY}


def test_a_write_waits_for_another_process_and_gives_up_with_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("loadtest.gate_file._LOCK_SECONDS", 0.2)
    mine, theirs = FileKeeping(tmp_path), FileKeeping(tmp_path)
    with theirs.exclusive(), pytest.raises(GateError, match="held by another process"), mine.exclusive():
        pass
    with mine.exclusive():
        pass


@pytest.mark.slow
def test_gates_survive_a_restart_with_actor_time_and_expiry(start: Callable[..., LoadTester], tmp_path: Path) -> None:
    state = f"-state-dir={tmp_path / 'new' / 'state'}"
    first = start(state)
    first.post("/gate/open", gate_payload(by="ada", reason="release notes read", expiresIn="2h"))
    first.post("/rollback/open", gate_payload())
    first.post("/rollback/close", gate_payload())
    first.post("/gate/open", gate_payload(gate="soon", expiresIn="1ms"))
    before = first.client.get("/gate/list").json()
    assert first.stop() == 0
    second = start(state)
    assert second.client.get("/gate/list").json() == before
    assert second.post("/gate/check", gate_payload()).status_code == 200
    assert second.post("/rollback/check", gate_payload()).status_code == 403
    assert second.post("/gate/check", gate_payload(gate="soon")).status_code == 403
    gate = next(found for found in before["gates"] if found["key"] == "podinfo.test")
    assert (gate["by"], gate["reason"], gate["remote"], gate["open"]) == ("ada", "release notes read", "127.0.0.1", True)
    lasting = datetime.fromisoformat(gate["expiresAt"]) - datetime.fromisoformat(gate["changedAt"])
    assert lasting == timedelta(hours=2)


def test_without_a_state_directory_a_restart_closes_gates_as_upstream(quick: Callable[..., QuickLoadTester]) -> None:
    first = quick()
    first.post("/gate/open", gate_payload())
    assert first.post("/gate/check", gate_payload()).status_code == 200
    first.close()
    assert quick().post("/gate/check", gate_payload()).status_code == 403


def test_a_hook_with_its_own_gate_is_not_opened_by_another(quick: Callable[..., QuickLoadTester]) -> None:
    server = quick()
    server.post("/gate/open", gate_payload(gate="legal"))
    assert server.post("/gate/check", gate_payload(gate="legal")).status_code == 200
    assert server.post("/gate/check", gate_payload(gate="ops")).status_code == 403
    assert server.post("/gate/check", gate_payload()).status_code == 403
    server.post("/gate/open", gate_payload())
    server.post("/gate/close", gate_payload(gate="legal"))
    assert server.post("/gate/check", gate_payload(gate="legal")).status_code == 403
    assert server.post("/gate/check", gate_payload()).status_code == 200
    for duration in ("soon", "0s", "9999999999999h"):
        reply = server.post("/gate/open", gate_payload(gate="x", expiresIn=duration))
        assert reply.status_code == 400
        assert "metadata.expiresIn" in reply.text
    assert server.metric('loadtester_gate_open{gate="",kind="gate",name="podinfo",namespace="test"}') == 1
    assert server.metric('loadtester_gates{kind="gate",state="closed"}') == 1


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b"\x00" * 64,
        b'{"version": 2, "gates": []}',
        b'{"version": 1}',
        b'{"version": 1, "gates": [7]}',
        b'{"version": 1, "gates": [{"kind": "gate", "namespace": "test", "name": "podinfo", "open": "true", "changedAt": "2026-01-02T12:00:00Z"}]}',
        b'{"version": 1, "gates": [{"kind": "gate", "namespace": "test", "name": "podinfo", "open": true}]}',
        b'{"version": 1, "gates": [{"kind": "gate", "namespace": "test", "name": "podinfo", "open": true, "changedAt": "2026-01-02T12:00:00"}]}',
        b'{"version": 1, "gates": [{"kind": "door", "namespace": "test", "name": "podinfo", "open": true, "changedAt": "2026-01-02T12:00:00Z"}]}',
        b'{"version": 1, "gates": [{"kind": "gate", "namespace": "test", "name": "podinfo", "open": true, "changedAt": "2026-01-02T12:00:00Z", "expiresAt": 5}]}',
    ],
)
def test_a_damaged_file_is_an_error_and_never_an_answer(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "gates.json").write_bytes(content)
    keeping = FileKeeping(tmp_path)
    for attempt in (
        keeping.prepare,
        GateStore(keeping, clock=lambda: NOON).all,
        lambda: GateStore(keeping, clock=lambda: NOON).put(opened()),
    ):
        with pytest.raises(GateError, match=r"gates\.json is damaged: .*; restore it, or move it away to start with every gate closed"):
            attempt()
    assert (tmp_path / "gates.json").read_bytes() == content


def test_the_same_gate_twice_is_damage(tmp_path: Path) -> None:
    record = {"kind": "gate", "namespace": "test", "name": "podinfo", "open": True, "changedAt": "2026-01-02T12:00:00Z"}
    (tmp_path / "gates.json").write_text(json.dumps({"version": 1, "gates": [record, {**record, "open": False}]}))
    with pytest.raises(GateError, match=r"podinfo\.test is there twice"):
        FileKeeping(tmp_path).prepare()


@pytest.mark.slow
def test_a_damaged_file_stops_the_start_with_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "gates.json").write_text('{"version": 1, "gates": [')
    code, logs = refusal(tmp_path / "run", f"-state-dir={tmp_path}")
    assert code == 1
    assert logs[-1]["level"] == "fatal"
    assert "gates.json is damaged" in logs[-1]["msg"]
    assert "stacktrace" not in logs[-1]


def test_a_state_directory_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(GateError, match="file cannot be made: File exists"):
        FileKeeping(tmp_path / "file").prepare()
    (tmp_path / "gates.json").mkdir()
    with pytest.raises(GateError, match=r"gates\.json cannot be read: Is a directory"):
        FileKeeping(tmp_path).prepare()


def test_damage_while_running_refuses_until_it_is_mended(quick: Callable[..., QuickLoadTester], tmp_path: Path) -> None:
    server = quick(f"-state-dir={tmp_path}")
    file = tmp_path / "gates.json"
    server.post("/gate/open", gate_payload())
    good = file.read_bytes()
    file.write_bytes(good[:-20])
    for path, status in (("/gate/check", 500), ("/gate/open", 507), ("/gate/close", 507)):
        reply = server.post(path, gate_payload())
        assert (reply.status_code, "is damaged" in reply.text) == (status, True)
    assert server.client.get("/gate/list").status_code == 500
    assert server.metric("loadtester_gate_state_readable") == 0
    assert server.post("/gate/approve").status_code == 200
    file.write_bytes(good)
    assert server.post("/gate/check", gate_payload()).status_code == 200


@pytest.mark.slow
def test_replicas_on_one_directory_agree(quick: Callable[..., QuickLoadTester], tmp_path: Path) -> None:
    left, right = quick(f"-state-dir={tmp_path}"), quick(f"-state-dir={tmp_path}")

    def fill(server: LoadTester, side: str) -> None:
        for number in range(15):
            assert server.post("/gate/open", {"name": f"{side}-{number}", "namespace": "test"}).status_code == 202

    threads = [threading.Thread(target=fill, args=pair) for pair in ((left, "left"), (right, "right"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(left.client.get("/gate/list").json()["gates"]) == 30
    left.post("/gate/close", {"name": "right-3", "namespace": "test"})
    assert right.post("/gate/check", {"name": "right-3", "namespace": "test"}).status_code == 403


@pytest.mark.slow
def test_a_killed_process_loses_no_gate_that_it_confirmed(
    start: Callable[..., LoadTester], quick: Callable[..., QuickLoadTester], tmp_path: Path
) -> None:
    server = start(f"-state-dir={tmp_path}")
    confirmed: list[str] = []

    def fill() -> None:
        with httpx.Client(base_url=server.url, trust_env=False) as client:
            for number in range(10_000):
                name = f"gate-{number}"
                try:
                    if client.post("/gate/open", json={"name": name, "namespace": "test"}).status_code == 202:
                        confirmed.append(name)
                except httpx.TransportError:
                    return

    thread = threading.Thread(target=fill)
    thread.start()
    wait_until(lambda: len(confirmed) > 20)
    server.stop(signal.SIGKILL)
    thread.join()
    reader = quick(f"-state-dir={tmp_path}")
    kept = {gate["name"] for gate in reader.client.get("/gate/list").json()["gates"] if gate["open"]}
    assert kept >= set(confirmed)
    assert len(kept) <= len(confirmed) + 1
