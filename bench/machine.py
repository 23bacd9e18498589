"""In one line, what the figures were taken on; no names."""

import os
import platform
import time
from collections.abc import Callable
from pathlib import Path

CALM = 0.2
"""Share of all cores that others may take while we call the machine idle."""
_LOOK = 5.0


def load() -> float:
    """Runnable tasks, averaged over the last minute."""
    return os.getloadavg()[0]


def machine() -> str:
    """Cores that this process may use, memory, kernel, Python."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{cores()} core{'s' if cores() > 1 else ''}, {memory:.0f} GiB, Linux {platform.release().split('-')[0]}, Python {platform.python_version()}"


def busy_seconds() -> float:
    """CPU seconds that the cores which we may use have worked for anybody since they started, idle and waiting for disks left out."""
    mine = {f"cpu{core}" for core in os.sched_getaffinity(0)}
    lines = [line.split() for line in Path("/proc/stat").read_text(encoding="ascii", errors="replace").splitlines()]
    ticks = sum(int(value) for name, *values in lines if name in mine for value in (*values[:3], *values[5:8]))
    return ticks / os.sysconf("SC_CLK_TCK")


def own_seconds() -> float:
    """CPU seconds of this process."""
    used = os.times()
    return used.user + used.system


def cores() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0))


def await_calm(patience: float, *, say: Callable[[str], None]) -> None:
    """Wait until the machine is idle, at most `patience` seconds; then go on all the same."""
    deadline = time.monotonic() + patience
    told = False
    while time.monotonic() < deadline:
        busy, began = busy_seconds(), time.monotonic()
        time.sleep(_LOOK)
        share = (busy_seconds() - busy) / (time.monotonic() - began) / cores()
        if share <= CALM:
            return
        if not told:
            say(f"  the machine is {share:.0%} busy: waiting, at most {patience:.0f} s")
            told = True
