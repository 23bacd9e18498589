"""Targets with every kind of past that a counter can have, for a real Prometheus: what each mesh counts, scrape by scrape.

One page of the text format holds all scrapes with their times, so that a Prometheus has minutes of data after one scrape.
"""

import json
import random
import socket
from contextlib import asynccontextmanager, closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import urlencode

import aiohttp
from aiohttp import web

from tests.charts import queries
from tests.testbed import tools
from tests.testbed.process import Process
from tests.testbed.waiting import until

STEP, SCRAPES = 15, 26
"""Seconds between scrapes; how many there are."""
ALPHABET = "0123456789bcdfghjklmnpqrstvwxyz"
BOUNDS = (0.005, 0.1, 0.5, 2.5, float("inf"))

NAMESPACES = ("test", "prod", "team-a")
NAMES = (
    "shop", "shop-x7", "shop-x7-bcd", "shop-primary", "shop-api", "shop-canary", "shopx7", "app", "app-1", "app-10", "a", "a-b", "a-b-c", "my.app", "myxapp",
    *(f"svc-{number}" for number in range(12)),
)  # fmt: skip
PASTS = ("busy", "busy", "busy", "clean", "failing", "idle", "silent", "once", "huge", "restarted", "young", "old", "codes", "one-bucket")
"""`silent` has no series at all, `once` a single scrape, `young` begins in the last minute and `old` ends two minutes ago, `one-bucket` is a
histogram that has nothing but +Inf."""


def word(rng, length):
    return "".join(rng.choice(ALPHABET) for _ in range(length))


def targets():
    """(namespace, name, past) of all, every past many times."""
    pairs = [(namespace, name) for namespace in NAMESPACES for name in NAMES]
    random.Random(7).shuffle(pairs)
    return [(namespace, name, PASTS[number % len(PASTS)]) for number, (namespace, name) in enumerate(pairs)]


def pods(rng, target, past):
    """Names of a Deployment's or a DaemonSet's pods, in no order."""
    count = 1 if past in {"once", "huge"} else rng.randint(1, 7)
    middle = "" if rng.random() < 0.5 else f"-{word(rng, rng.randint(1, 10))}"
    return [f"{target}{middle}-{word(rng, 5)}" for _ in range(count)]


def codes(rng, past):
    if past in {"clean", "huge"}:
        return ["200"]
    if past == "failing":
        return ["500", "503"]
    if past == "codes":
        return ["5", "599", "499", "0", "200"]
    return ["200", "404", "500"] if rng.random() < 0.7 else ["200"]


def counter(rng, past):
    """The values of one counter at each scrape; None: not there."""
    if past == "huge":  # a hundred times its rate is more than a number can be
        return [max(0, number - SCRAPES + 5) * 3.2e307 for number in range(SCRAPES)]
    if past == "once":
        return [None] * (SCRAPES - 1) + [5.0]
    value, values = rng.uniform(0, 1e4), []
    for number in range(SCRAPES):
        here = not (past == "young" and number < SCRAPES - 3) and not (past == "old" and number > SCRAPES - 9)
        values.append(value if here else None)
        if past == "restarted" and number in {8, SCRAPES - 3}:
            value = 0.0
        elif past != "idle":
            value += rng.uniform(0, 97.3)
    return values


def family(rng, labels, code_label, requests, buckets, *, past, unit):
    """(series, values) of one process: requests by code and a histogram."""
    for code in codes(rng, past):
        yield f'{requests}{{{labels},{code_label}="{code}"}}', counter(rng, past)
    below = counter(rng, "busy" if past == "huge" else past)
    for bound in BOUNDS[-1:] if past == "one-bucket" else BOUNDS:
        below = [None if value is None else value + rng.uniform(0, 50) for value in below]
        le = "+Inf" if bound == float("inf") else f"{bound * unit:g}"
        yield f'{buckets}{{{labels},le="{le}"}}', below


def series():
    """All series of all meshes."""
    rng = random.Random(11)
    for namespace, target, past in targets():
        if past == "silent":
            continue
        for copy in (target, f"{target}-primary"):
            for pod in pods(rng, copy, past):
                http = f'kubernetes_namespace="{namespace}",kubernetes_pod_name="{pod}"'
                names = ("http_request_duration_seconds_count", "http_request_duration_seconds_bucket")
                yield from family(rng, http, "status", *names, past=past, unit=1)
                labels = f'destination_workload_namespace="{namespace}",destination_workload="{copy}",pod="{pod}"'
                names = ("istio_requests_total", "istio_request_duration_milliseconds_bucket")
                for reporter in ("destination", "source"):
                    yield from family(rng, f'reporter="{reporter}",{labels}', "response_code", *names, past=past, unit=1000)
        for arm in ("canary", "primary"):
            for port in ("80",) if past == "huge" else ("80", "9898-x"):
                labels = f'envoy_cluster_name="{namespace}_{target}-{arm}_{port}",envoy="{word(rng, 3)}"'
                names = ("envoy_cluster_upstream_rq", "envoy_cluster_upstream_rq_time_bucket")
                yield from family(rng, labels, "envoy_response_code", *names, past=past, unit=1000)


def page(until_second):
    """The text format: scrapes in order of time, so that none is out of order."""
    lines = []
    for name, values in series():
        for number, value in enumerate(values):
            if value is not None:
                lines.append(f"{name} {value!r} {(until_second - (SCRAPES - 1 - number) * STEP) * 1000}")
    return "\n".join(lines) + "\n"


@contextmanager
def prometheus(folder, page, *, ready, kind="text/plain; version=0.0.4", features=""):
    """URL of a Prometheus that has scraped `page` (of this content type) once; `ready` is a query that then has an answer."""
    body = page.encode() if isinstance(page, str) else page

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format, *args):
            pass

    source = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=source.serve_forever, daemon=True).start()
    with closing(socket.create_server(("127.0.0.1", 0))) as probe:
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    job = {"job_name": "world", "static_configs": [{"targets": [f"127.0.0.1:{source.server_port}"]}]}
    (folder / "prometheus.yml").write_text(
        json.dumps({"global": {"scrape_interval": "5s", "scrape_timeout": "5s"}, "scrape_configs": [job]})
    )
    command = [tools.find("prometheus"), f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data"]
    command += [f"--enable-feature={features}"] if features else []
    process = Process("prometheus", [*command, f"--web.listen-address=127.0.0.1:{port}", "--log.level=error"], log=folder / "log")
    try:
        until("the page to be scraped", lambda: queries.series(url, ready), 60, interval=0.2, alarm=process.check)
        source.shutdown()
        source.server_close()
        yield url
    finally:
        process.stop(grace=0)


@asynccontextmanager
async def at(url, second):
    """A way to a Prometheus on which every query is about that second: two that are asked one after the other can be compared. Counts."""
    seen = []

    async def forward(request):
        given = dict(request.query) | dict(await request.post())
        seen.append((request.method, str(request.rel_url), given["query"]))
        async with session.post(url + request.path, data=urlencode(given | {"time": str(second)}), headers=_FORM) as answer:
            return web.Response(status=answer.status, body=await answer.read(), content_type="application/json")

    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", forward)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    async with aiohttp.ClientSession() as session:
        try:
            yield f"http://127.0.0.1:{runner.addresses[0][1]}", seen
        finally:
            await runner.cleanup()


_FORM = {"Content-Type": "application/x-www-form-urlencoded"}
