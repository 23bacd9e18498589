"""A real service that tests ask over loopback: one program of the test bed, without a cluster and without a network namespace.

At home a test whose program is missing is skipped with the sentence that mends it; where CI is true a skip would be a hole.
"""

import socket
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.testbed import tools
from tests.testbed.absence import absent
from tests.testbed.process import Process
from tests.testbed.waiting import until


def program(name: str) -> Path:
    """The program, ready to run. Ends the test when it is missing."""
    if reason := tools.missing([name]):
        absent(reason)
    return tools.find(name)


@contextmanager
def running(name: str, command: Callable[[int], Sequence[str | Path]], *, probe: str, folder: Path, timeout: float = 60.0) -> Iterator[str]:
    """Start `command(port)` and give its address as soon as `probe` (a path) is answered with anything but a 5xx.

    Its log is `<name>.log` in `folder`. A program that ends by itself ends the wait, with its last lines.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = Process(name, command(port), log=folder / f"{name}.log")
    try:
        address = f"http://127.0.0.1:{port}"
        until(f"{name} to answer", lambda: _answers(address + probe), timeout, alarm=process.check)
        yield address
    finally:
        process.stop(grace=3)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=10):
            return True
    except urllib.error.HTTPError as error:
        error.close()
        return error.code < 500
