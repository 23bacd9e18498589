"""`canary demo` as its users start it: a process, what it printed, and what it has left behind."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.testbed import tools
from tests.testbed.absence import absent

Happening = dict[str, Any]
ROOT = Path(__file__).parents[2]


def programs() -> dict[str, str]:
    """Environment that names the real programs; a test never fetches one. Skips without them, and fails where CI is true."""
    if reason := tools.missing(("envoy", "prometheus")):
        absent(reason)
    return {"ENVOY_BIN": str(tools.find("envoy")), "PROMETHEUS_BIN": str(tools.find("prometheus"))}


class Demo:
    """One run. Its temporary folder is `folder`, so that everything that it leaves there, or runs from there, is found."""

    def __init__(self, folder: Path, *flags: str, env: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.popen = subprocess.Popen(
            [sys.executable, "-m", "canary.cli.main", "demo", *flags],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **programs(), "TMPDIR": str(folder), **(env or {})},
        )

    def happenings(self) -> Iterator[Happening]:
        """What is told, as it happens (`--json`)."""
        assert self.popen.stdout is not None
        for line in self.popen.stdout:
            yield json.loads(line)

    def until(self, ready: Callable[[Happening], bool]) -> Happening:
        """Read until something has happened."""
        for happening in self.happenings():
            if ready(happening):
                return happening
        raise AssertionError(f"it did not happen: {self.errors()}")

    def signal(self, number: int = signal.SIGINT) -> None:
        self.popen.send_signal(number)

    def end(self, timeout: float = 90.0) -> tuple[int, str, str]:
        """Exit code, output and errors."""
        try:
            out, err = self.popen.communicate(timeout=timeout)
        except subprocess.TimeoutExpired as late:
            self.popen.kill()
            late.add_note("".join(self.popen.communicate())[-6000:])
            raise
        return self.popen.returncode, out, err

    def errors(self) -> str:
        assert self.popen.stderr is not None
        return self.popen.stderr.read()

    def files(self) -> list[str]:
        """What is in its temporary folder."""
        return sorted(str(path.relative_to(self.folder)) for path in self.folder.iterdir())

    def processes(self) -> list[str]:
        """Command lines of all processes, but itself, that have inherited its environment."""
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                if f"TMPDIR={self.folder}".encode() in (entry / "environ").read_bytes() and int(entry.name) != self.popen.pid:
                    found.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode())
            except OSError:
                continue
        return found

    def gone(self, timeout: float = 20.0) -> bool:
        """Whether all its processes are gone, at once or soon: who was killed needs a moment to disappear."""
        deadline = time.monotonic() + timeout
        while self.processes() and time.monotonic() < deadline:
            time.sleep(0.05)
        return not self.processes()

    def close(self) -> None:
        """Whatever the test has found out: leave nothing."""
        self.popen.kill()
        self.popen.communicate()
        self.gone()
