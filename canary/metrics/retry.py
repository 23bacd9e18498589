"""Asking again, within the time that a check has.

A source that is restarting, or that says "not now", costs one check less often if it is asked once more a moment later. Bounded twice: by
the number of attempts and by the caller's deadline. A wish to wait (`Retry-After`) is honoured when it fits, and told when it does not.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from canary.metrics.base import Unreachable

T = TypeVar("T")

ATTEMPTS = 3
FIRST_WAIT = 0.2
"""Seconds before the second attempt, doubled for each further one, half of it random."""


async def patiently(attempt: Callable[[], Awaitable[T]], *, deadline: float) -> T:
    """The first success of up to three attempts; `deadline` in the loop's time. Raises the last Unreachable.

    A time-out is not repeated: it has used up the time.
    """
    now = asyncio.get_running_loop().time
    for count in range(1, ATTEMPTS + 1):
        try:
            return await attempt()
        except Unreachable as error:
            wait = FIRST_WAIT * 2 ** (count - 1) * random.uniform(0.5, 1.0) if error.retry_after is None else error.retry_after
            left = deadline - now()
            if error.retry_after is not None and wait >= left:
                asks = f"{error.message}; it asks to wait {wait:g} s, longer than this check may take"
                raise Unreachable(asks, retry_after=wait) from error
            if error.timed_out or count == ATTEMPTS or wait >= left:
                raise
        await asyncio.sleep(wait)
    raise AssertionError  # pragma: no cover - the last attempt returns or raises
