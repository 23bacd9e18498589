"""A Prometheus of synthetic counters on loopback: it answers the questions that `replay` and `plan` ask, as the HTTP API words it.

It evaluates what those questions are made of (selectors with ranges, rate, increase, sum by, histogram_quantile, subqueries by the hour) from raw
points, so that a wrong question gets a wrong or an empty answer. Like the real one it extrapolates increases to their window.
"""

import json
import math
import random
import re
import threading
from bisect import bisect_right
from collections import defaultdict
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from tests.core.counting import binomial, poisson

BOUNDS = ("50", "100", "250", "500", "1000", "+Inf")
SLOWER = (0.8, 0.4, 0.02, 0.004, 0.0005, 0.0)
_SELECTOR = re.compile(r"^(\w+)\{(.*)\}$")
_MATCHER = re.compile(r'(\w+)(=~|!~|!=|=)"((?:[^"\\]|\\.)*)"')
_RATE = r"sum\(rate\((.+?)\[(\w+)\]\)\)"
_SUCCESS = re.compile(rf"^100 \* \({_RATE} or 0 \* {_RATE}\) / {_RATE}$")
_QUANTILE = re.compile(r"^histogram_quantile\(0\.99, sum by \(le\) \(rate\((.+?)\[(\w+)\]\)\)\) or histogram_quantile\(.+\)$")
_HOURLY = re.compile(r"^sum(?: by \((\w+)\) )?\(increase\((.+)\[1h\]\)\)\[24h:1h\]$")
_COUNT = re.compile(r"^sum\(count_over_time\((.+)\[(\w+)\]\)\)$")
_TOTALS = re.compile(r"^sum\((\w+\{.*\})\)\[(\w+):(\w+)\]$")
_RANGE = re.compile(r"^(.+)\[(\w+)\]$")


def seconds(text):
    number, unit = re.fullmatch(r"(\d+)(ms|s|m|h)", text).groups()
    return int(number) * {"ms": 0.001, "s": 1, "m": 60, "h": 3600}[unit]


@dataclass
class Series:
    labels: dict
    times: list = field(default_factory=list)
    values: list = field(default_factory=list)

    def add(self, ts, value):
        self.times.append(ts)
        self.values.append(value)

    def between(self, first, last):
        """Points after `first` up to `last`."""
        begin, end = bisect_right(self.times, first), bisect_right(self.times, last)
        return list(zip(self.times[begin:end], self.values[begin:end], strict=True))

    def increase(self, first, last):
        begin, end = bisect_right(self.times, first), bisect_right(self.times, last)
        if end - begin < 2:
            return None
        covered = self.times[end - 1] - self.times[begin]
        usual = covered / (end - begin - 1)
        gaps = (self.times[begin] - first, last - self.times[end - 1])
        more = sum(gap if gap < 1.1 * usual else usual / 2 for gap in gaps)
        return (self.values[end - 1] - self.values[begin]) * (covered + more) / covered


class Prometheus:
    """Series by name, and a server; `asked` lists all questions."""

    def __init__(self):
        self.series = defaultdict(list)
        self.asked = []
        self.url = ""

    def __enter__(self):
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                parts = urlsplit(self.path)
                query = {key: found[0] for key, found in parse_qs(parts.query).items()}
                status, body = outer.answer(parts.path, query)
                payload = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(payload)))
                self.end_headers()
                self.wfile.write(payload)

            def log_message(self, *arguments):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def answer(self, path, query):
        if path != "/api/v1/query":
            return 404, {"status": "error", "errorType": "not_found", "error": path}
        text, at = query["query"], float(query.get("time", 0))
        self.asked.append((text, at))
        return 200, {"status": "success", "data": self.evaluate(text, at)}

    def evaluate(self, text, at):
        if text == "vector(1)":
            return vector([({}, 1.0)], at)
        if found := _SUCCESS.match(text):
            good, window, _, _, total, _ = found.groups()
            whole = self._sum(total, at - seconds(window), at)
            part = self._sum(good, at - seconds(window), at) or 0.0
            return vector([] if whole is None else [({}, math.nan if whole == 0 else 100 * part / whole)], at)
        if found := _QUANTILE.match(text):
            return self._quantile(found[1], at - seconds(found[2]), at)
        if found := _HOURLY.match(text):
            return self._hourly(found[2], found[1], at)
        if found := _TOTALS.match(text):
            return self._totals(found[1], seconds(found[2]), seconds(found[3]), at)
        if found := _COUNT.match(text):
            count = sum(len(one.between(at - seconds(found[2]), at)) for one in self._select(found[1]))
            return vector([({}, count)] if count else [], at)
        if found := _RANGE.match(text):
            rows = [(one.labels, one.between(at - seconds(found[2]), at)) for one in self._select(found[1])]
            return matrix([row for row in rows if row[1]])
        raise AssertionError(f"a question that this server does not know: {text}")

    def _select(self, selector):
        name, inner = _SELECTOR.match(selector).groups()
        wanted = [(label, sign, value.encode().decode("unicode_escape")) for label, sign, value in _MATCHER.findall(inner)]
        return [one for one in self.series[name] if all(matches(one.labels.get(label, ""), sign, value) for label, sign, value in wanted)]

    def _sum(self, selector, first, last):
        found = [step for one in self._select(selector) if (step := one.increase(first, last)) is not None]
        return sum(found) if found else None

    def _quantile(self, selector, first, last):
        counts = defaultdict(float)
        for one in self._select(selector):
            counts[float(one.labels["le"])] += one.increase(first, last) or 0.0
        total = counts.get(math.inf, 0.0)
        if not counts:
            return vector([], last)
        if not total:
            return vector([({}, math.nan)], last)
        low, below = 0.0, 0.0
        for bound, count in sorted(counts.items()):
            if count >= 0.99 * total:
                value = low if math.isinf(bound) else low + (bound - low) * (0.99 * total - below) / max(1e-9, count - below)
                return vector([({}, value)], last)
            low, below = bound, count
        raise AssertionError

    def _totals(self, selector, window, step, at):
        """A subquery: at multiples of its step, of what was scraped in the five minutes before."""
        first, points = (at - window) // step * step + step, []
        while first <= at:
            found = [near[-1][1] for one in self._select(selector) if (near := one.between(first - 300, first))]
            points += [(first, sum(found))] if found else []
            first += step
        return matrix([({}, points)] if points else [])

    def _hourly(self, selector, by, at):
        groups = defaultdict(lambda: defaultdict(float))
        for one in self._select(selector):
            for hour in range(int(at // 3600) - 23, int(at // 3600) + 1):
                step = one.increase((hour - 1) * 3600, hour * 3600)
                if step is not None:
                    groups[one.labels.get(by, "") if by else ""][hour * 3600.0] += step
        return matrix([({by: key} if by else {}, sorted(points.items())) for key, points in groups.items()])


def matches(value, sign, wanted):
    if sign in ("=", "!="):
        return (value == wanted) is (sign == "=")
    return (re.fullmatch(wanted, value) is not None) is (sign == "=~")


def vector(found, at):
    return {"resultType": "vector", "result": [{"metric": labels, "value": [at, str(value)]} for labels, value in found]}


def matrix(found):
    rows = [{"metric": labels, "values": [[ts, str(value)] for ts, value in points]} for labels, points in found]
    return {"resultType": "matrix", "result": rows}


class Mesh:
    """Istio's client-side counters of one service, scraped into a Prometheus. `rate` requests a second, or a function of the time."""

    def __init__(self, prometheus, *, service="podinfo", namespace="prod", every=15.0, seed=1):
        self.prometheus, self.every = prometheus, every
        self._random = random.Random(seed)
        self._head = {"reporter": "source", "destination_service_namespace": namespace}
        # what applications and Istio's servers export, which the operator's built-in checks ask for
        self._names = {arm: f"{service}-{arm}" for arm in ("canary", "primary", "baseline")}
        self._workloads = self._names | {"canary": service}
        self._namespace, self._service = namespace, service
        self._known = {}

    def go_on(
        self,
        first,
        last,
        *,
        rate,
        weight=lambda ts: 0,
        errors=None,
        slow=1.0,
        copied=lambda ts: 0,
        hooks=lambda ts: 0,
        jobs=None,
        baseline=None,
    ):
        """Scrape from `first` to `last`. `errors` are shares by version; `slow` multiplies the canary's share above each bound.

        `copied`: percent of the requests that the canary gets copies of, `hooks`: what is sent to it directly; only its own proxy counts these.
        `jobs`: shares by version of jobs that fail; each request makes one. `baseline`: percent of the requests that a fresh baseline gets.
        """
        shares = {"canary": 0.001, "primary": 0.001, "baseline": 0.001} | (errors or {})
        ts = first
        while ts <= last:
            share = weight(ts) / 100
            now = rate(ts) if callable(rate) else rate
            beside = baseline(ts) / 100 if baseline else 0
            for arm, part in (("canary", share), ("primary", 1 - share - beside), *([("baseline", beside)] if beside else [])):
                alone = arm == "canary" and (copied(ts) or hooks(ts))
                count = poisson(self._random, now * (copied(ts) / 100 if alone else part) * self.every) + (hooks(ts) if alone else 0)
                bad = binomial(self._random, count, shares[arm])
                reporters = ("destination",) if alone else ("source", "destination")
                self._count(arm, ts, count, bad, slow if arm == "canary" else 1.0, reporters)
                if jobs:
                    self._work(arm, ts, count, binomial(self._random, count, jobs[arm]))
            ts += self.every

    def weights(self, points):
        """`flagger_canary_weight` at these moments."""
        one = Series({"workload": self._service, "namespace": self._namespace})
        for ts, weight in points:
            one.add(ts, weight)
        self.prometheus.series["flagger_canary_weight"].append(one)

    def _work(self, arm, ts, count, bad):
        if arm == "canary" and not count and ("canary", "jobs_total", "") not in self._known:
            return
        for name, more in (("jobs_total", count), ("jobs_failed_total", bad)):
            if (arm, name, "") not in self._known:
                self._known[arm, name, ""] = Series({"namespace": self._namespace, "app": self._workloads[arm], "pod": f"{arm}-1"})
                self.prometheus.series[name].append(self._known[arm, name, ""])
            one = self._known[arm, name, ""]
            one.add(ts, (one.values[-1] if one.values else 0) + more)

    def _count(self, arm, ts, count, bad, slow, reporters):
        for reporter in reporters:
            if arm == "canary" and not count and (arm, reporter, "200") not in self._known:
                continue
            for code, more in (("200", count - bad), ("503", bad)):
                if more or (arm, reporter, code) in self._known:
                    self._put(arm, reporter, "istio_requests_total", code, {"response_code": code}, ts, more)
            left, above = count, 1.0
            for bound, usual in zip(BOUNDS, SLOWER, strict=True):
                share = min(1.0, usual * slow)
                slower = left = binomial(self._random, left, share / above if above else 0.0)
                above = share
                self._put(arm, reporter, "istio_request_duration_milliseconds_bucket", bound, {"le": bound}, ts, count - slower)

    def _put(self, arm, reporter, name, key, labels, ts, more):
        place = (arm, reporter, key)
        if place not in self._known:
            head = {
                "reporter": reporter,
                "pod": "gateway-1",
                "destination_workload_namespace": self._namespace,
                "destination_workload": self._workloads[arm],
            }
            head |= {"destination_service_namespace": self._namespace, "destination_service_name": self._names[arm]}
            self._known[place] = Series(head | labels)
            self.prometheus.series[name].append(self._known[place])
        one = self._known[place]
        one.add(ts, (one.values[-1] if one.values else 0) + more)
