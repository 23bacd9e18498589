"""The load client, against a server of this process."""

import asyncio
import socket
import threading
from collections.abc import Iterator

import pytest
from aiohttp import web

from tests.testbed.traffic import Answer, Ask, Tally, Traffic, burst

pytestmark = pytest.mark.slow


class Site:
    """An HTTP server in a thread that remembers requests and answers like a pod."""

    def __init__(self) -> None:
        self.requests: list[dict[str, str]] = []
        self.url = ""
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._work)

    def start(self) -> None:
        self._thread.start()
        assert self._ready.wait(5)

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _answer(self, request: web.BaseRequest) -> web.Response:
        seen = dict(request.headers) | {"path": request.path, "method": request.method, "user": request.cookies.get("user", "")}
        self.requests.append(seen)
        if request.path == "/slow":
            await asyncio.sleep(0.2)
        if request.path == "/hang":
            await asyncio.sleep(5)
        body = {"pod": f"pod-{len(self.requests) % 2}", "image": "app:1", "version": "1"}
        answer = web.json_response(body, status=500 if request.path == "/bad" else 200)
        if not seen["user"]:
            answer.set_cookie("user", str(len(self.requests)))
        return answer

    def _work(self) -> None:
        async def listen() -> web.ServerRunner:
            runner = web.ServerRunner(web.Server(self._answer), shutdown_timeout=0.1)
            await runner.setup()
            listener = socket.create_server(("127.0.0.1", 0))
            self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            await web.SockSite(runner, listener).start()
            return runner

        runner = self._loop.run_until_complete(listen())
        self._ready.set()
        self._loop.run_forever()
        self._loop.run_until_complete(runner.cleanup())


@pytest.fixture
def site() -> Iterator[Site]:
    started = Site()
    started.start()
    yield started
    started.stop()


def test_every_request_says_what_was_asked(site):
    ask = Ask(site.url, "app.test", path="/x", method="POST", headers={"x-canary": "yes"}, cookies={"user": "7"})
    assert len(burst(ask, 25, concurrency=4)) == 25
    assert len(site.requests) == 25
    for request in site.requests:
        assert (request["Host"], request["path"], request["method"]) == ("app.test", "/x", "POST")
        assert (request["x-canary"], request["user"]) == ("yes", "7")


def test_answers_are_counted_by_pod_image_and_version(site):
    tally = Tally.of(burst(Ask(site.url, "app.test"), 40, concurrency=1))
    assert (tally.total, tally.failed) == (40, 0)
    assert tally.pods == {"pod-0": 20, "pod-1": 20}
    assert tally.images == {"app:1": 40}
    assert tally.versions == {"1": 40}


def test_failures_are_counted_by_reason(site):
    assert Tally.of(burst(Ask(site.url, "app.test", path="/bad"), 3)).failures == {"500 from app:1": 3}
    assert Tally.of(burst(Ask(site.url, "app.test", path="/hang", timeout=0.1), 2)).failures == {"TimeoutError": 2}


def test_a_server_that_is_not_there_is_a_failure_and_no_exception():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        tally = Tally.of(burst(Ask(f"http://127.0.0.1:{free.getsockname()[1]}", "app.test"), 2))
    assert tally.failed == 2
    assert all(reason.startswith("ClientConnectorError") for reason in tally.failures)


def test_the_rate_is_kept_although_answers_are_slow(site):
    with Traffic(Ask(site.url, "app.test", path="/slow"), rate=50) as traffic:
        tally = traffic.collect(50, timeout=10)
        assert traffic.now < 3  # one after the other they would take 10 s
    assert tally.failures == {}


def test_windows_cover_the_whole_run_once(site):
    with Traffic(Ask(site.url, "app.test"), rate=100) as traffic:
        traffic.collect(60)
    windows = traffic.windows(0.2)
    assert len(windows) >= 3
    assert sum(window.total for window in windows) == len(traffic.answers)
    assert windows[1].total == traffic.tally(0.2, 0.4).total


def test_users_are_browsers_that_keep_their_cookie(site):
    # 200 ms between two requests of one user: a slow machine must not let the second overtake the first's answer
    with Traffic(Ask(site.url, "app.test"), rate=25, users=5, keep_cookies=True) as traffic:
        traffic.collect(50)
    named = [request["user"] for request in site.requests]
    assert named[:5] == [""] * 5
    assert len({user for user in named[5:] if user}) == 5


def test_without_keeping_no_cookie_is_sent_back(site):
    burst(Ask(site.url, "app.test"), 5, concurrency=1)
    assert {request["user"] for request in site.requests} == {""}


async def test_it_works_under_a_running_loop(site):
    assert Tally.of(burst(Ask(site.url, "app.test"), 5)).total == 5
    with Traffic(Ask(site.url, "app.test"), rate=100) as traffic:
        await asyncio.sleep(0.2)
    assert traffic.tally().failures == {}


def test_waiting_for_answers_that_do_not_come_ends(site):
    with Traffic(Ask(site.url, "app.test"), rate=5) as traffic, pytest.raises(TimeoutError, match="of 1000 answers"):
        traffic.collect(1000, timeout=0.3)


def test_redirects_count_as_good_and_other_statuses_do_not():
    statuses = {200: True, 204: True, 302: True, 404: False, 500: False, 0: False}
    assert {status: Answer(at=0, seconds=0, status=status).ok for status in statuses} == statuses
