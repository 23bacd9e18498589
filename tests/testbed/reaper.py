"""Kills the daemons of a test run when the run is gone, however it went (SIGKILL, out of memory, closed terminal).

A child of the test process that reads `+PID` and `-PID` lines from a pipe; when the pipe ends, the test process is dead, and what is
still listed is killed with its process group. Rejected: PR_SET_PDEATHSIG, which fires when the *thread* that started the daemon
ends, so a cluster started from a helper thread would die under its test; and a supervisor as parent of all, which would take exit
codes away from the tests. A pidfd per daemon keeps a recycled number from being hit.

Run as a script with no imports of ours, so that it starts in milliseconds.
"""

import contextlib
import os
import select
import signal
import sys


def _alive(pidfd: int) -> bool:
    return not select.select([pidfd], [], [], 0)[0]


def main() -> None:
    """Read orders until the end of the pipe, then kill."""
    for ignored in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(ignored, signal.SIG_IGN)
    daemons: dict[int, int] = {}
    for line in sys.stdin:
        sign, pid = line[0], int(line[1:])
        if sign == "+":
            with contextlib.suppress(ProcessLookupError):
                daemons[pid] = os.pidfd_open(pid)
        elif pid in daemons:
            os.close(daemons.pop(pid))
    for pid, pidfd in daemons.items():
        if _alive(pidfd):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, signal.SIGKILL)


if __name__ == "__main__":
    main()
