"""A real load tester process, and small helpers to wait and to look at processes."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import httpx

from loadtest.options import read_options
from loadtest.server import address_of, build_service, listen
from loadtest.shim import HeyShim

CANARY = {"name": "podinfo", "namespace": "test", "phase": "Progressing", "checksum": "85d557f47b"}


def hook(cmd: str | None = None, **metadata: str) -> dict[str, Any]:
    """What an operator posts for the canary podinfo.test."""
    found = {**({"cmd": cmd} if cmd is not None else {}), **metadata}
    return {**CANARY, "metadata": found} if found else dict(CANARY)


def wait_until(condition: Callable[[], Any], *, seconds: float = 8.0, what: str = "the condition") -> Any:
    """Poll until the condition gives something true, and return that."""
    until = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < until, f"{what} did not come true within {seconds} s"
        time.sleep(0.01)
    return found


def alive(pid: int) -> bool:
    """Whether a process runs (a zombie does not)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def program(directory: Path, name: str, body: str) -> Path:
    """Put an executable shell script on disk."""
    directory.mkdir(parents=True, exist_ok=True)
    file = directory / name
    file.write_text(f"#!/bin/sh\n{body}\n")
    file.chmod(0o755)
    return file


class Caller:
    """Talks to a load tester as operators and people do."""

    client: httpx.Client
    url: str

    def connect(self, address: str) -> None:
        self.url = f"http://{address}"
        self.client = httpx.Client(base_url=self.url, trust_env=False, timeout=20)

    def post(self, path: str = "/", payload: Any = None, **options: Any) -> httpx.Response:
        """Post a payload as an operator does."""
        return self.client.post(path, json=payload, **options)

    def task(self, task_id: str) -> dict[str, Any]:
        return self.client.get(f"/tasks/{task_id}").json()

    def finished(self, reply: httpx.Response) -> dict[str, Any]:
        """Wait for the task of a reply and return its record."""
        task_id = reply.headers["X-Task-Id"]
        return wait_until(lambda: (task := self.task(task_id))["state"] != "running" and task, what="the end of the task")

    def metric(self, line: str) -> float:
        """The value of one exposed series, 0 when it is absent."""
        for found in self.client.get("/metrics").text.splitlines():
            if found.startswith(line + " "):
                return float(found.rpartition(" ")[2])
        return 0.0


class LoadTester(Caller):
    """`python -m loadtest` on a free port of the loopback."""

    def __init__(self, directory: Path, *flags: str, path: str | None = None) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._log = directory / f"log-{time.monotonic_ns()}.json"
        environment = {**os.environ, **({"PATH": path} if path is not None else {})}
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "loadtest", "-port=0", "-host=127.0.0.1", *flags],
                stdout=subprocess.DEVNULL,
                stderr=log,
                cwd=directory,
                env=environment,
            )

    def started(self) -> Self:
        """Wait for the port."""
        wait_until(lambda: self.process.poll() is not None or self.lines("starting HTTP server"), what="the start of the server")
        assert self.process.poll() is None, f"the server did not start: {self.logs()}"
        (line,) = self.lines("starting HTTP server")
        self.connect(line["address"])
        return self

    def logs(self) -> list[dict[str, str]]:
        """Every complete log line so far."""
        return [json.loads(line) for line in self._log.read_text().splitlines(keepends=True) if line.endswith("\n")]

    def lines(self, message: str) -> list[dict[str, str]]:
        """Log lines that hold this message."""
        return [line for line in self.logs() if message in line["msg"]]

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """End the process and return its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(15)


class QuickLoadTester(Caller):
    """The same service and port settings on a thread of this process: no start-up to wait for, no signals, no logs."""

    def __init__(self, *flags: str, path: str | None = None) -> None:
        self._options = read_options(["-host=127.0.0.1", "-port=0", *flags])
        self._path = os.environ["PATH"] if path is None else path
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))
        self._thread.start()
        assert self._ready.wait(10)
        self.connect(self._address)

    async def _serve(self) -> None:
        self._loop, self._stopped = asyncio.get_running_loop(), asyncio.Event()
        with HeyShim(self._path) as shim:
            service = build_service(self._options, path=shim.path)
            runner = await listen(service, host=self._options.host, port=self._options.port)
            self._address = address_of(runner)
            self._ready.set()
            await self._stopped.wait()
            await service.runner.shutdown()
            await runner.cleanup()

    def close(self) -> None:
        if self.client.is_closed:
            return
        self.client.close()
        self._loop.call_soon_threadsafe(self._stopped.set)
        self._thread.join(15)


@contextmanager
def load_tester(directory: Path, *flags: str, path: str | None = None) -> Iterator[LoadTester]:
    """A started load tester that is gone afterwards."""
    server = LoadTester(directory, *flags, path=path)
    try:
        yield server.started()
    finally:
        if server.process.poll() is None:
            server.stop()


def refusal(directory: Path, *flags: str) -> tuple[int, list[dict[str, str]]]:
    """Exit code and log of a load tester that must not start."""
    server = LoadTester(directory, *flags)
    try:
        return server.process.wait(10), server.logs()
    finally:
        server.stop(signal.SIGKILL)


def gate_payload(**metadata: str) -> Mapping[str, Any]:
    return {"name": "podinfo", "namespace": "test", **({"metadata": metadata} if metadata else {})}
