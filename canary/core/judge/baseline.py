"""What is known of the primary before a tick: its rate of bad requests, and whether they come in bursts.

Both come from earlier ticks only, so that bets on the next one stay fair. The rate is a guess that costs power when wrong, never
validity. The dispersion tempers the bets: with bursts of at most m, an e-value to the power 1/m is valid again.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

_RECENT: Final = 90.0
"""Half-life of the recent rate in seconds (but never under three ticks): an outage is followed within minutes."""
_LONG: Final = 3600.0
_PRIOR_REQUESTS: Final = 400.0
_PULL_ERRORS: Final = 5.0
"""Bad requests that the long run counts for beside the recent ones, as long as these do not contradict it."""
_PULL_LEAST: Final = 20.0
_DOUBT: Final = 1.5
"""Standard errors between recent and long run at which the long run has lost half of its pull."""
_JUMP: Final = 4.0
"""Standard errors by which one tick must differ for what came before it to be no longer recent: an outage has begun or ended."""
_FLOOR: Final = 1e-6
_HISTORY: Final = 40
"""Windows of one tick in the past that settle the dispersion before the run begins."""
_ENOUGH: Final = 120
"""Windows that settle it during the run, when there was no such past."""
_FEWEST: Final = 8
_MINUTE: Final = 60.0


class Rate:
    """The primary's share of bad requests, recent ticks weighing most, with the long run to lean on when they are few."""

    __slots__ = ("_long_n", "_long_x", "_n", "_prior", "_x")

    def __init__(self, prior: float) -> None:
        self._prior = prior
        self._n = self._x = self._long_n = self._long_x = 0.0

    @property
    def lasting(self) -> float:
        """The rate over the last hour or so."""
        return (self._long_x + self._prior * _PRIOR_REQUESTS) / (self._long_n + _PRIOR_REQUESTS)

    @property
    def value(self) -> float:
        lasting = self.lasting
        apart = (self._x - self._n * lasting) / math.sqrt(self._n * lasting + 1)
        pull = max(_PULL_LEAST, _PULL_ERRORS / max(lasting, _FLOOR) / (1 + (apart / _DOUBT) ** 4))
        return min(max((self._x + pull * lasting) / (self._n + pull), _FLOOR), 1 - _FLOOR)

    @property
    def recent(self) -> tuple[float, float]:
        """Requests and bad ones among them that count as recent."""
        return self._n, self._x

    def add(self, n: int, x: int, seconds: float) -> None:
        recent = 0.5 ** (seconds / max(_RECENT, 3 * seconds))
        lasting = 0.5 ** (seconds / _LONG)
        expected = n * self.value
        if abs(x - expected) > _JUMP * math.sqrt(expected + 1):
            self._n = self._x = 0.0
        self._n, self._x = self._n * recent + n, self._x * recent + x
        self._long_n, self._long_x = self._long_n * lasting + n, self._long_x * lasting + x

    def state(self) -> list[float]:
        return [self._n, self._x, self._long_n, self._long_x, self._prior]

    def restore(self, state: Sequence[Any]) -> None:
        self._n, self._x, self._long_n, self._long_x, self._prior = (float(number) for number in state)


class Dispersion:
    """phi: how many bad requests come as one, measured as variance over mean of their count in windows of a tick and of a minute.

    Differences of neighbouring windows are used, not deviations from the mean: an outage in the past is a common movement that
    the comparison cancels, and would otherwise pass for bursts. `phi` is 1 unless the excess is beyond three standard errors.
    """

    __slots__ = ("_cautious", "_phi", "_settled", "_wide", "_windows")

    def __init__(self) -> None:
        self._windows = (_Windows(), _Windows())
        self._wide = [0.0, 0.0, 0.0, 0.0]
        self._phi = self._cautious = 1.0
        self._settled = False

    @property
    def phi(self) -> float:
        return self._phi

    @property
    def cautious(self) -> float:
        """Phi and its standard error: for evidence of health, where too small a phi would promote."""
        return self._cautious

    @property
    def known(self) -> bool:
        """Whether enough windows were seen to have noticed ordinary bursts at all."""
        return self._settled or self._windows[0].count >= _FEWEST

    def begin(self) -> None:
        """The run begins: what the past showed stands, if it was long enough."""
        self._measure()
        self._settled = self._windows[0].count >= _HISTORY

    def add(self, n: int, x: int, seconds: float, *, running: bool = True) -> None:
        """One tick of the primary, of the past (until `begin`) or (`running`) of the run.

        Once settled nothing more is learnt: a run should not change its own rules.
        """
        if self._settled or n <= 0:
            return
        self._windows[0].add(n, x)
        self._wide = [self._wide[0] + n, self._wide[1] + x, self._wide[2] + seconds, self._wide[3] + 1]
        if self._wide[2] >= _MINUTE and self._wide[3] >= 4:
            self._windows[1].add(self._wide[0], self._wide[1])
            self._wide = [0.0, 0.0, 0.0, 0.0]
        if running:  # nobody asks before the past has ended
            self._measure()
            self._settled = self._windows[0].count >= _ENOUGH

    def _measure(self) -> None:
        self._phi = max(1.0, *(window.phi for window in self._windows))
        self._cautious = max(1.0, *(window.cautious for window in self._windows))

    def state(self) -> list[Any]:
        """Short once nothing more is learnt."""
        if self._settled:
            return [self._phi, self._cautious]
        return [self._phi, self._cautious, self._windows[0].state(), self._windows[1].state(), self._wide]

    def restore(self, state: Sequence[Any]) -> None:
        self._phi, self._cautious = float(state[0]), float(state[1])
        self._settled = len(state) == 2
        if self._settled:
            return
        self._windows[0].restore(state[2])
        self._windows[1].restore(state[3])
        self._wide = [float(number) for number in state[4]]


class _Windows:
    """Squared differences of the rate of neighbouring windows, in units of what independent requests would give."""

    __slots__ = ("_last_n", "_last_x", "_n", "_squares", "_x", "count")

    def __init__(self) -> None:
        self.count = 0
        self._n = self._x = self._last_n = self._last_x = self._squares = 0.0

    @property
    def phi(self) -> float:
        pairs = self.count - 1
        if pairs < _FEWEST - 1 or not 0 < self._x < self._n:
            return 1.0
        rate = self._x / self._n
        phi = self._squares / (pairs * rate * (1 - rate))
        noise = math.sqrt((3 + self.count / self._x) / pairs)
        return phi if phi > 1 + 3 * noise else 1.0

    @property
    def cautious(self) -> float:
        """One standard error more: a few bursts say little about their size."""
        phi = self.phi
        return phi * (1 + math.sqrt(2 * phi / self._x)) if phi > 1 else 1.0

    def add(self, n: float, x: float) -> None:
        if self.count:
            gap = x / n - self._last_x / self._last_n
            self._squares += gap * gap / (1 / n + 1 / self._last_n)
        self.count += 1
        self._n, self._x, self._last_n, self._last_x = self._n + n, self._x + x, float(n), float(x)

    def state(self) -> list[float]:
        return [self.count, self._n, self._x, self._last_n, self._last_x, self._squares]

    def restore(self, state: Sequence[Any]) -> None:
        count, *rest = state
        self.count = int(count)
        self._n, self._x, self._last_n, self._last_x, self._squares = (float(number) for number in rest)
