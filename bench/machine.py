"""In one line, what the figures were taken on; no names."""

import os
import platform
from pathlib import Path


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
