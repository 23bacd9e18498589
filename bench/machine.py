"""In one line, what the figures were taken on; no names."""

import os
import platform


def load() -> float:
    """Runnable tasks, averaged over the last minute."""
    return os.getloadavg()[0]


def machine() -> str:
    """Cores that this process may use, memory, kernel, Python."""
    cores = len(os.sched_getaffinity(0))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{cores} core{'s' if cores > 1 else ''}, {memory:.0f} GiB, Linux {platform.release().split('-')[0]}, Python {platform.python_version()}"
