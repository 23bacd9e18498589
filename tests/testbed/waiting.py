"""Waiting for a real system: poll until something holds, and say what was last seen when it never does."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def until(
    what: str, predicate: Callable[[], T | None], timeout: float = 30.0, *, interval: float = 0.05, alarm: Callable[[], None] | None = None
) -> T:
    """The first truthy value of `predicate`, asked every `interval` seconds for at most `timeout` seconds.

    An exception counts as "not yet". `alarm` is called before each look; what it raises ends the wait: there is no use in waiting for
    something that a dead program will never do. Raises TimeoutError with `what` and the last value or exception.
    """
    deadline = time.monotonic() + timeout
    while True:
        if alarm is not None:
            alarm()
        try:
            value = predicate()
            if value:
                return value
            seen = f"last seen: {value!r}"
        except Exception as error:
            seen = f"last error: {type(error).__name__}: {error}"
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {timeout:g} s for {what}; {seen[:2000]}")
        time.sleep(interval)
