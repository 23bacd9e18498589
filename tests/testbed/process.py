"""One daemon of the test bed (or an operator under test): started with a log file, measured, stopped, never left behind."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


class ProcessDiedError(Exception):
    """A daemon ended by itself; the message holds its last lines."""


@dataclass(frozen=True)
class Use:
    """What a process has used: CPU in seconds since its start, resident memory now and at its highest in MiB."""

    name: str
    pid: int
    cpu_seconds: float
    rss_mib: float
    peak_rss_mib: float


class Process:
    """A running program whose output goes to a file.

    It leads its own process group (Ctrl-C at the terminal reaches only the test runner, which stops it in order), and is killed when
    the test runner dies without having stopped it.
    """

    def __init__(
        self, name: str, command: Sequence[str | Path], *, log: Path, env: Mapping[str, str] | None = None, cwd: Path | None = None
    ) -> None:
        self.name = name
        self.command = [str(part) for part in command]
        self.log = log
        self.env = dict(env or {})
        self._stopped = False
        with log.open("ab") as output:
            self._popen = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True, cwd=cwd,
                env={**os.environ, **self.env},
            )  # fmt: skip
        _REAPER.tell("+", self.pid)

    @property
    def pid(self) -> int:
        """The process id, also of its group."""
        return self._popen.pid

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self._popen.poll() is None

    @property
    def exit_code(self) -> int | None:
        """None while it runs; negative: the signal that ended it."""
        return self._popen.poll()

    def tail(self, lines: int = 15) -> str:
        """The last lines of its log."""
        with self.log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 400 * lines))
            return "\n".join(line[:400] for line in file.read().decode(errors="replace").splitlines()[-lines:])

    def check(self) -> None:
        """Raise ProcessDiedError when it has ended and nobody here stopped it."""
        if not self._stopped and not self.running:
            raise ProcessDiedError(f"{self.name} ended with {self.exit_code}; the end of {self.log}:\n{self.tail()}")

    def signal(self, number: int) -> None:
        """Send a signal to the program alone (not to its group)."""
        self._popen.send_signal(number)

    def wait(self, timeout: float) -> int:
        """The exit code. Raises subprocess.TimeoutExpired."""
        return self._popen.wait(timeout)

    def stop(self, *, grace: float = 10.0) -> int:
        """SIGTERM, `grace` seconds, then SIGKILL to the whole group; its exit code. With `grace=0` it is killed at once."""
        self._stopped = True
        if self.running and grace > 0:
            self._popen.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._popen.wait(grace)
        if self.running:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
        code = self._popen.wait()
        _REAPER.tell("-", self.pid)
        return code

    def use(self) -> Use | None:
        """What it has used so far; None once it has ended."""
        try:
            stat = Path(f"/proc/{self.pid}/stat").read_text(encoding="ascii", errors="replace").rsplit(")", 1)[1].split()
            status = Path(f"/proc/{self.pid}/status").read_text(encoding="ascii", errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            return None
        sizes = {line.split(":")[0]: int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith(("VmRSS", "VmHWM"))}
        if "VmRSS" not in sizes:  # ended, waiting to be collected
            return None
        cpu = (int(stat[11]) + int(stat[12])) / _TICKS_PER_SECOND
        return Use(name=self.name, pid=self.pid, cpu_seconds=cpu, rss_mib=sizes["VmRSS"], peak_rss_mib=sizes["VmHWM"])


def stop_all(processes: Sequence[Process], *, grace: float) -> None:
    """Stop several at once, waiting for the slowest and not for the sum."""
    if grace > 0:
        for process in processes:
            if process.running:
                process.signal(signal.SIGTERM)
    deadline = time.monotonic() + grace
    for process in processes:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(max(0.0, deadline - time.monotonic()))
        process.stop(grace=0)


def quote_logs(processes: Iterable[Process], lines: int) -> str:
    """The last lines of every log, under the file's name."""
    return "\n".join(f"--- {p.log}{'' if p.running else f' (ended with {p.exit_code})'}\n{p.tail(lines)}" for p in processes)


class _Reaper:
    """Our end of the pipe to reaper.py; one per process, started with the first daemon."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._owner = 0
        self._popen: subprocess.Popen[bytes] | None = None

    def tell(self, sign: str, pid: int) -> None:
        with self._lock:
            if self._popen is None or self._owner != os.getpid():
                script = Path(__file__).with_name("reaper.py")
                self._popen = subprocess.Popen(
                    [sys.executable, "-I", "-S", str(script)], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True
                )
                self._owner = os.getpid()
            assert self._popen.stdin is not None
            self._popen.stdin.write(f"{sign}{pid}\n".encode())
            self._popen.stdin.flush()


_REAPER = _Reaper()
