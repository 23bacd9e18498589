"""The Prometheus provider against every answer that a Prometheus can give, and against a real one."""

import asyncio
import base64
import json
import os
import socket
import subprocess
import time

import pytest
from aiohttp import web

from canary.core.model import Sample
from canary.metrics.base import Source, Unreachable
from canary.metrics.prometheus import PrometheusProvider
from tests.testbed import tools


def vector(*values, **labels):
    result = [{"metric": {"pod": str(number), **labels}, "value": [1.0, value]} for number, value in enumerate(values)]
    return {"status": "success", "data": {"resultType": "vector", "result": result}}


@pytest.fixture
async def prometheus():
    """A server that answers `answer` (a body, or a function of the request) and remembers requests."""

    class Server:
        answer = vector("1")
        status = 200
        delay = 0.0

        def __init__(self):
            self.seen = []

        async def handle(self, request):
            self.seen.append((request.path, dict(request.query), request.headers.copy()))
            await asyncio.sleep(self.delay)
            body = self.answer if isinstance(self.answer, str) else json.dumps(self.answer)
            return web.Response(status=self.status, text=body, content_type="application/json")

    server = Server()
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", server.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield server
    await runner.cleanup()


@pytest.fixture
async def provider():
    it = PrometheusProvider()
    yield it
    await it.close()


async def ask(provider, url, text="up", timeout=2.0, **more):
    try:
        return await provider.query(Source(type="prometheus", address=url, **more), text, window_seconds=60, timeout=timeout)
    except Unreachable as error:
        return Sample(error=error.message, query=text)


@pytest.mark.parametrize(
    ("answer", "value"),
    [
        (vector("99.5"), 99.5),
        (vector("0"), 0.0),
        (vector("+Inf"), float("inf")),
        ({"status": "success", "data": {"resultType": "scalar", "result": [1.0, "7"]}}, 7.0),
    ],
)
async def test_a_number_is_a_number(prometheus, provider, answer, value):
    prometheus.answer = answer
    sample = await ask(provider, prometheus.url, "some query")
    assert (sample.value, sample.error, sample.query) == (value, "", "some query")


@pytest.mark.parametrize("answer", [vector(), vector("NaN")])
async def test_nothing_and_nan_are_no_data(prometheus, provider, answer):
    prometheus.answer = answer
    assert (await ask(provider, prometheus.url)).no_data


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (vector("1", "2", job="app"), "2 series"),
        ({"status": "success", "data": {"resultType": "matrix", "result": [{"metric": {}, "values": [[1, "1"]]}]}}, "ranges"),
        ({"status": "success", "data": {"resultType": "vector", "result": [{"metric": {}, "histogram": [1, {}]}]}}, "native histogram"),
        (vector("abc"), "is not a number"),
        ("not json", "127.0.0.1"),
    ],
)
async def test_an_answer_that_is_no_number_says_why(prometheus, provider, answer, says):
    prometheus.answer = answer
    sample = await ask(provider, prometheus.url)
    assert sample.value is None
    assert says in sample.error


@pytest.mark.parametrize("status", [400, 401, 404, 422, 500, 503])
async def test_a_refusal_is_an_error_with_the_code(prometheus, provider, status):
    prometheus.status, prometheus.answer = status, {"status": "error", "errorType": "bad_data", "error": "parse error"}
    sample = await ask(provider, prometheus.url)
    assert str(status) in sample.error


async def test_a_slow_server_costs_its_time_out_and_no_more(prometheus, provider):
    prometheus.delay = 10
    began = time.monotonic()
    sample = await ask(provider, prometheus.url, timeout=0.5)
    assert time.monotonic() - began < 3
    assert "did not answer in time" in sample.error


async def test_nobody_listening_is_named_by_address(provider):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://user:secret@127.0.0.1:{taken.getsockname()[1]}"
        sample = await ask(provider, url)
    assert sample.error == f"127.0.0.1:{url.rpartition(':')[2]} cannot be reached"
    assert "secret" not in sample.error


@pytest.mark.parametrize("address", ["", "prometheus:9090", "ftp://x", "http://"])
async def test_an_address_that_is_no_url_says_so(provider, address):
    assert "is not an http(s) URL" in (await ask(provider, address)).error


async def test_a_server_that_is_just_coming_up_is_asked_again(prometheus, provider):
    prometheus.status, prometheus.answer = 503, "Service Unavailable"

    async def comes_up():
        while not prometheus.seen:
            await asyncio.sleep(0.01)
        prometheus.status, prometheus.answer = 200, vector("5")

    rising = asyncio.create_task(comes_up())
    assert (await ask(provider, prometheus.url)).value == 5.0
    await rising


async def test_what_says_nothing_of_the_query_is_unreachable(prometheus, provider):
    prometheus.status = 503
    with pytest.raises(Unreachable) as caught:
        await provider.query(Source(type="prometheus", address=prometheus.url), "up", window_seconds=60, timeout=2)
    assert not caught.value.timed_out
    prometheus.delay = 5
    with pytest.raises(Unreachable) as caught:
        await provider.query(Source(type="prometheus", address=prometheus.url), "up", window_seconds=60, timeout=0.3)
    assert caught.value.timed_out


async def test_path_stays_and_query_of_the_address_goes(prometheus, provider):
    await ask(provider, prometheus.url + "/prefix/?x=1", "up")
    path, query, _ = prometheus.seen[-1]
    assert path == "/prefix/api/v1/query"
    assert query["query"] == "up"
    assert "x" not in query


@pytest.mark.parametrize(
    ("secret", "header"),
    [
        ({"token": b"t\n"}, "Bearer t"),
        ({"username": b"u", "password": b"p"}, "Basic " + base64.b64encode(b"u:p").decode()),
        ({"token": b"t", "username": b"u", "password": b"p"}, "Bearer t"),
    ],
)
async def test_credentials_come_from_the_secret_and_never_pile_up(prometheus, provider, secret, header):
    for _ in range(3):
        await ask(provider, prometheus.url, secret=secret, headers={"X-Scope-OrgID": ("team",)})
    _, _, headers = prometheus.seen[-1]
    assert headers.getall("Authorization") == [header]
    assert headers["X-Scope-OrgID"] == "team"


async def test_a_rotated_token_is_used_at_once(prometheus, provider):
    await ask(provider, prometheus.url, secret={"token": b"old"})
    await ask(provider, prometheus.url, secret={"token": b"new"})
    assert prometheus.seen[-1][2]["Authorization"] == "Bearer new"


async def test_half_a_secret_is_an_error(prometheus, provider):
    assert "must hold `token`" in (await ask(provider, prometheus.url, secret={"username": b"u"})).error


async def test_fifty_queries_at_once_are_all_answered(prometheus, provider):
    samples = await asyncio.gather(*(ask(provider, prometheus.url, f"q{number}") for number in range(50)))
    assert {sample.query for sample in samples if sample.value == 1.0} == {f"q{number}" for number in range(50)}


async def test_online_wants_the_right_answer(prometheus, provider):
    assert await provider.online(Source(type="prometheus", address=prometheus.url), timeout=2) == ""
    prometheus.answer = vector("2")
    assert "gave 2.0" in await provider.online(Source(type="prometheus", address=prometheus.url), timeout=2)


async def test_a_real_prometheus(tmp_path, provider):
    if reason := tools.missing(["prometheus"]):
        assert os.environ.get("CI") != "true", reason
        pytest.skip(reason)
    (tmp_path / "prometheus.yml").write_text("{}")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    arguments = [
        f"--config.file={tmp_path}/prometheus.yml",
        f"--storage.tsdb.path={tmp_path}/data",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with subprocess.Popen([tools.find("prometheus"), *arguments, "--log.level=error"]) as process:
        try:
            source = Source(type="prometheus", address=f"http://127.0.0.1:{port}")
            async with asyncio.timeout(20):
                while (await ask(provider, source.address, "vector(1)", timeout=1)).value != 1:
                    await asyncio.sleep(0.1)
            assert await provider.online(source, timeout=1) == ""
            assert (await ask(provider, source.address, "vector(3) + 1")).value == 4.0
            assert (await ask(provider, source.address, "scalar(vector(3))")).value == 3.0
            assert (await ask(provider, source.address, "vector(0) / 0")).no_data
            assert (await ask(provider, source.address, "nothing_at_all")).no_data
            assert "400" in (await ask(provider, source.address, "sum by (")).error
            assert "2 series" in (await ask(provider, source.address, 'label_replace(vector(1), "a", "b", "", "") or vector(2)')).error
        finally:
            process.kill()
