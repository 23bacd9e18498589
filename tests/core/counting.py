"""Proxies that count the requests of both versions, and a Prometheus that scrapes them: the part of a mesh that evidence is made of.

Requests are drawn as they come in life (Poisson, each failing by itself), from a seed, so that a run repeats. `dead`: the source does not
answer; the proxies go on counting.
"""

import math
import random

from canary.core.counted import SEPARATOR, Counters, Past, past
from canary.core.judge import Sample as Scrape

BOUNDS = (100.0, 250.0, 500.0, 1000.0, math.inf)
SLOW = (0.6, 0.97, 0.995, 0.999, 1.0)


def poisson(random_, mean):
    if mean > 50:
        return max(0, round(random_.gauss(mean, math.sqrt(mean))))
    limit, count, product = math.exp(-mean), 0, random_.random()
    while product > limit:
        count += 1
        product *= random_.random()
    return count


def binomial(random_, count, share):
    """How many of them."""
    if count <= 60:
        return sum(random_.random() < share for _ in range(count))
    if count * share < 30:
        return min(count, poisson(random_, count * share))
    return min(count, max(0, round(random_.gauss(count * share, math.sqrt(count * share * (1 - share))))))


class Traffic:
    """`rate` requests a second of both versions; `errors` are shares by version; `every` seconds between two scrapes.

    `baseline`: percent of the requests that a fresh baseline answers. `times(arm, ts)`: shares of requests within `BOUNDS`.
    """

    def __init__(
        self,
        *,
        start,
        rate=100.0,
        errors=None,
        every=15.0,
        proxies=2,
        seed=1,
        history=3600.0,
        weight=lambda: 0,
        copied=lambda: 0,
        baseline=lambda: 0,
        times=lambda _arm, _ts: SLOW,
    ):
        self.rate, self.every, self.weight, self.copied = rate, every, weight, copied
        self.baseline, self.times = baseline, times
        self._third = random.Random(seed + 1000)
        self.beside = []
        self.errors = {"canary": 0.001, "primary": 0.001} | (errors or {})
        self.dead = ""
        self.silent = False
        self.asked = []
        self.harmed = 0
        self._random, self._own = random.Random(seed), random.Random(-seed)
        self._totals = {
            (arm, proxy): [{"2": 1000.0, "5": 3.0}, dict.fromkeys(BOUNDS, 0.0)] for arm in ("primary",) for proxy in range(proxies)
        }
        self._proxies = proxies
        self._last = [start - history + every * proxy / proxies for proxy in range(proxies)]
        self.lost = 0.0
        self._answered = {}
        self.scrapes = []
        self.answers = []
        errors_now, self.errors = self.errors, {"canary": 0.0, "primary": min(self.errors["primary"], 0.001)}
        weight_now, self.weight = self.weight, lambda: 0
        baseline_now, self.baseline = self.baseline, lambda: 0
        self.go_on(start)
        self.errors, self.weight, self.baseline = errors_now, weight_now, baseline_now

    def go_on(self, now):
        """All scrapes up to now, of what happened under the weight in force."""
        for proxy in range(self._proxies):
            while self._last[proxy] + self.every <= now:
                self._last[proxy] += self.every
                self._scrape(proxy, self._last[proxy])

    def _scrape(self, proxy, ts):
        if self.silent:
            return
        share, beside = self.weight() / 100, self.baseline() / 100
        self._scrape_baseline(proxy, ts, beside)
        for arm, part in (("canary", share), ("primary", 1 - share - beside)):
            count = poisson(self._random, self.rate / self._proxies * part * self.every)
            bad = binomial(self._random, count, self.errors[arm])
            self.harmed += bad if arm == "canary" else 0
            if arm == "primary" or not self.copied():
                self._answer(arm, proxy, ts, count, bad)
            if arm == "primary" and self.copied():
                copies = binomial(self._own, count, self.copied() / 100 * (1 - self.lost))
                self._answer("canary", proxy, ts, copies, binomial(self._own, copies, self.errors["canary"]))
            if count and (arm, proxy) not in self._totals:
                self._totals[arm, proxy] = [{}, dict.fromkeys(BOUNDS, 0.0)]
            if (arm, proxy) in self._totals:
                requests, buckets = self._totals[arm, proxy]
                requests["2"] = requests.get("2", 0.0) + count - bad
                requests["5"] = requests.get("5", 0.0) + bad
                self._time(self._random, buckets, count, self.times(arm, ts))
                self.scrapes.append(Scrape(arm, f"envoy-{proxy}{SEPARATOR}{arm}", ts, dict(requests), dict(buckets)))

    def _scrape_baseline(self, proxy, ts, part):
        count = poisson(self._third, self.rate / self._proxies * part * self.every) if part else 0
        if count and ("baseline", proxy) not in self._totals:
            self._totals["baseline", proxy] = [{}, dict.fromkeys(BOUNDS, 0.0)]
        if ("baseline", proxy) not in self._totals:
            return
        bad = binomial(self._third, count, self.errors.get("baseline", self.errors["primary"]))
        requests, buckets = self._totals["baseline", proxy]
        requests["2"] = requests.get("2", 0.0) + count - bad
        requests["5"] = requests.get("5", 0.0) + bad
        self._time(self._third, buckets, count, self.times("baseline", ts))
        self.beside.append(Scrape("primary", f"envoy-{proxy}{SEPARATOR}baseline", ts, dict(requests), dict(buckets)))

    @staticmethod
    def _time(random_, buckets, count, shares=SLOW):
        left, above = count, 1.0
        for bound, up_to in zip(reversed(BOUNDS), reversed(shares), strict=True):
            left = binomial(random_, left, up_to / above)
            above = up_to
            buckets[bound] += left

    def _answer(self, arm, pod, ts, count, bad):
        """What those who answer count: copies as well as requests."""
        if not count and (arm, pod) not in self._answered:
            return
        requests, buckets = self._answered.setdefault((arm, pod), ({"2": 0.0, "5": 0.0}, dict.fromkeys(BOUNDS, 0.0)))
        requests["2"] += count - bad
        requests["5"] += bad
        self._time(self._own, buckets, count)
        self.answers.append(Scrape(arm, f"{arm}-{pod}", ts, dict(requests), dict(buckets)))

    def counters(self, since, now, *, copies=False, baseline=False):
        self.go_on(now)
        self.asked.append(since)
        if self.dead:
            return Counters(now, error=self.dead)
        begin = since - 1 if since else now - 120
        seen = self.answers if copies else self.scrapes
        if baseline:
            seen = sorted([*self.beside, *(one for one in seen if one.arm == "canary")], key=lambda one: one.ts)
        return Counters(now, tuple(scrape for scrape in seen if begin < scrape.ts <= now))

    def past(self, now):
        self.go_on(now)
        if self.dead:
            return Past(error=self.dead)
        return Past(past([scrape for scrape in self.scrapes if now - 3600 < scrape.ts <= now and scrape.arm == "primary"]))


def watched(world, **more):
    """The world with proxies that count."""
    routes = lambda: getattr(world.routes, "canary", 0)  # noqa: E731
    copied = lambda: world.copied if getattr(world.routes, "mirrored", False) else 0  # noqa: E731
    baseline = lambda: getattr(world.routes, "baseline", 0)  # noqa: E731
    world.traffic = Traffic(start=world.now, weight=routes, copied=copied, baseline=baseline, **more)
    return world
