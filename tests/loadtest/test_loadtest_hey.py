"""Our `hey` against a real HTTP server: what is sent, how fast, what is counted, what is printed."""

from __future__ import annotations

import asyncio
import base64
import gzip
import itertools
import os
import re
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from aiohttp import web

from loadtest.hey import main, read_plan
from loadtest.hey_load import Load
from loadtest.hey_report import csv_lines, summary
from loadtest.hey_results import MAX_ERRORS, Results
from tests.loadtest.support import LoadTester, QuickLoadTester, hook, program

pytestmark = pytest.mark.slow


class Target:
    """A server that remembers what reached it."""

    def __init__(self) -> None:
        self.url = ""
        self.requests: list[tuple[web.Request, bytes]] = []
        self.connections: set[object] = set()
        self.now = self.most = 0
        self.statuses = itertools.cycle([500, 200])
        self.delays: list[float] = []

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.now += 1
        self.most = max(self.most, self.now)
        self.connections.add(request.transport)
        self.requests.append((request, await request.read()))
        try:
            await asyncio.sleep(self.delays.pop(0) if self.delays else 0)
            return await self.reply(request)
        finally:
            self.now -= 1

    async def reply(self, request: web.Request) -> web.StreamResponse:
        if request.path == "/moved":
            raise web.HTTPFound("/landed")
        if request.path == "/round":
            raise web.HTTPFound("/round")
        if request.path == "/broken":
            assert request.transport is not None
            request.transport.abort()
        if request.path == "/half":
            response = web.StreamResponse(headers={"Content-Length": "100"})
            await response.prepare(request)
            await response.write(b"half")
            assert request.transport is not None
            request.transport.close()
            return response
        if request.path == "/slow":
            await asyncio.sleep(3)
        if request.path == "/zip":
            return web.Response(body=gzip.compress(b"x" * 10_000), headers={"Content-Encoding": "gzip"})
        status = next(self.statuses) if request.path == "/flaky" else 200
        return web.Response(status=status, text="0123456789")

    @property
    def last(self) -> web.Request:
        return self.requests[-1][0]


@pytest.fixture
async def target() -> AsyncIterator[Target]:
    found = Target()
    app = web.Application()
    app.router.add_route("*", "/{anything:.*}", found.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    found.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield found
    await runner.cleanup()


async def sent(*arguments: str) -> Results:
    plan, report, _ = read_plan(arguments)
    load = Load(plan, detailed=report == "csv")
    await load.run()
    return load.results


async def printed(*arguments: str, stop_when: Callable[[], object] | None = None) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "loadtest.hey", *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    if stop_when is not None:
        while not stop_when():
            await asyncio.sleep(0.01)
        process.send_signal(signal.SIGINT)
    out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


@pytest.mark.parametrize(("requests", "workers"), [(1, 1), (10, 3), (37, 5), (8, 8)])
async def test_exactly_the_requests_asked_for_are_sent_by_the_workers_asked_for(target: Target, requests: int, workers: int) -> None:
    target.delays = [0.02] * requests
    results = await sent("-n", str(requests), "-c", str(workers), target.url)
    assert (len(target.requests), results.replies, target.most) == (requests, requests, workers)
    assert results.statuses == {200: requests}
    assert results.bytes == 10 * requests


async def test_the_rate_holds_for_each_worker(target: Target) -> None:
    results = await sent("-z", "500ms", "-q", "40", "-c", "2", target.url)
    assert 20 <= len(target.requests) <= 40
    assert 0.49 <= results.total_seconds < 2


async def test_a_slow_reply_is_not_made_up_for_by_a_burst(target: Target) -> None:
    target.delays = [0.4]
    await sent("-z", "800ms", "-q", "20", "-c", "1", target.url)
    assert 3 <= len(target.requests) <= 10


async def test_a_duration_overrides_the_number_and_lets_the_last_replies_come(target: Target) -> None:
    target.delays = [0.6] * 3
    results = await sent("-z", "300ms", "-n", "1", "-c", "3", target.url)
    assert (results.replies, results.failures) == (3, 0)
    assert results.total_seconds >= 0.6


async def test_a_slow_rate_does_not_hold_up_the_end(target: Target) -> None:
    began = time.monotonic()
    await sent("-z", "300ms", "-q", "0.1", "-c", "2", target.url)
    assert time.monotonic() - began < 2
    assert not target.requests


async def test_defaults_are_200_requests_by_50_workers(target: Target) -> None:
    target.delays = [0.05] * 50
    results = await sent(target.url)
    assert (len(target.requests), target.most, results.replies) == (200, 50, 200)
    assert target.last.method == "GET"
    assert target.last.headers["Content-Type"] == "text/html"
    assert target.last.headers["User-Agent"].startswith("hey/")
    assert target.last.headers["Accept-Encoding"] == "gzip"


async def test_options_reach_the_server(target: Target, tmp_path: Path) -> None:
    await sent(
        *("-n", "1", "-c", "1", "-m", "post", "-H", "X-One: 1: 2", "-H", "cookie: canary=always", "-H", "x-one: last"),
        *("-d", '{"a": 1}', "-T", "application/json", "-A", "text/plain", "-U", "probe/1", "-a", "ada:pa:ss", "-host=app.example.com"),
        f"{target.url}/path?x=a%2Fb&y=1",
    )
    request, body = target.requests[0]
    expected = {
        "X-One": "last",
        "Cookie": "canary=always",
        "Content-Type": "application/json",
        "Accept": "text/plain",
        "User-Agent": "probe/1",
        "Host": "app.example.com",
        "Authorization": "Basic " + base64.b64encode(b"ada:pa:ss").decode(),
    }
    assert {key: request.headers[key] for key in expected} == expected
    assert (request.method, request.raw_path, body) == ("POST", "/path?x=a%2Fb&y=1", b'{"a": 1}')
    file = tmp_path / "body"
    file.write_bytes(b"\x00from file")
    await sent("-n=1", "-c=1", "-m=PUT", f"-D={file}", "-d", "not this", target.url)
    assert target.requests[-1][1] == b"\x00from file"


async def test_connections_are_kept_unless_that_is_disabled(target: Target) -> None:
    await sent("-n", "12", "-c", "2", target.url)
    assert len(target.connections) <= 2
    target.connections.clear()
    await sent("-n", "12", "-c", "2", "-disable-keepalive", target.url)
    assert len(target.connections) == 12


async def test_redirects_are_followed_unless_that_is_disabled(target: Target) -> None:
    followed = await sent("-n", "2", "-c", "1", f"{target.url}/moved")
    assert (followed.statuses, target.last.path) == ({200: 2}, "/landed")
    stayed = await sent("-n", "2", "-c", "1", "-disable-redirects", f"{target.url}/moved")
    assert (stayed.statuses, target.last.path) == ({302: 2}, "/moved")
    endless = await sent("-n", "1", "-c", "1", f"{target.url}/round")
    assert dict(endless.errors) == {"more than 10 redirects": 1}


async def test_compressed_replies_are_counted_as_received(target: Target) -> None:
    results = await sent("-n", "1", "-c", "1", f"{target.url}/zip")
    assert 0 < results.bytes < 1000
    await sent("-n", "1", "-c", "1", "-disable-compression", target.url)
    assert "Accept-Encoding" not in target.last.headers


@pytest.mark.parametrize(
    ("path", "flags", "words"),
    [
        ("/slow", ["-t", "1"], "no complete reply within 1s"),
        ("/broken", [], "the server closed the connection|connection reset by peer"),
        ("/half", [], "ClientPayloadError"),
    ],
)
async def test_failures_are_counted_by_cause_and_are_no_responses(target: Target, path: str, flags: list[str], words: str) -> None:
    results = await sent("-n", "3", "-c", "3", *flags, target.url + path)
    assert (results.replies, results.failures, sum(results.errors.values())) == (0, 3, 3)
    assert all(re.search(words, reason) for reason in results.errors)


async def test_error_replies_are_responses(target: Target) -> None:
    results = await sent("-n", "10", "-c", "1", f"{target.url}/flaky")
    assert (results.statuses, results.failures) == ({200: 5, 500: 5}, 0)


async def test_a_service_that_is_not_there_is_counted_and_does_not_crash() -> None:
    results = await sent("-n", "4", "-c", "2", "http://127.0.0.1:1/")
    assert dict(results.errors) == {"connection refused": 4}


def test_different_errors_are_bounded() -> None:
    results = Results()
    for number in range(MAX_ERRORS + 50):
        results.fail(f"error {number}")
    results.fail("error 3")
    assert len(results.errors) == MAX_ERRORS + 1
    assert results.errors["other errors"] == 50
    assert results.errors["error 3"] == 2


async def test_the_summary_has_the_lines_that_scripts_read(target: Target) -> None:
    code, out, err = await printed("-n", "20", "-c", "2", f"{target.url}/flaky")
    assert (code, err) == (0, "")
    for name in ("Total", "Slowest", "Fastest", "Average"):
        assert re.search(rf"^  {name}:\t\d+\.\d{{4}} secs$", out, re.MULTILINE)
    (rate,) = re.findall(r"^  Requests/sec:\t(\d+\.\d{4})$", out, re.MULTILINE)
    (total,) = re.findall(r"^  Total:\t(\d+\.\d{4}) secs$", out, re.MULTILINE)
    assert float(rate) == pytest.approx(20 / float(total), rel=0.05)
    assert re.findall(r"^  (\d+)% in \d\.\d{4} secs$", out, re.MULTILINE) == ["10", "25", "50", "75", "90", "95", "99"]
    assert "Status code distribution:\n  [200]\t10 responses\n  [500]\t10 responses\n" in out
    assert sum(int(count) for count in re.findall(r"^  \d+\.\d{3} \[(\d+)\]\t\|", out, re.MULTILINE)) == 20
    assert "Error distribution" not in out
    assert "Total data:\t200 bytes" in out


async def test_a_run_of_failures_has_a_summary() -> None:
    out = summary(await sent("-n", "2", "-c", "1", "http://127.0.0.1:1/"))
    assert out.endswith("Error distribution:\n  [2]\tconnection refused\n")
    assert "Status code distribution" not in out


async def test_csv_has_a_line_for_every_reply(target: Target) -> None:
    results = await sent("-n", "6", "-c", "2", "-o", "csv", f"{target.url}/flaky")
    header, *rows = csv_lines(results)
    assert header == ("response-time,DNS+dialup,DNS,Request-write,Response-delay,Response-read,status-code,offset")
    cells = [row.split(",") for row in rows]
    assert sorted(cell[6] for cell in cells) == ["200"] * 3 + ["500"] * 3
    for cell in cells:
        total, dialup, _, write, delay, read = (float(value) for value in cell[:6])
        assert dialup + write + delay + read == pytest.approx(total, abs=0.005)


async def test_an_interrupt_prints_what_was_done(target: Target) -> None:
    began = time.monotonic()
    code, out, err = await printed("-z", "60s", "-q", "20", "-c", "1", target.url, stop_when=lambda: len(target.requests) > 3)
    assert (code, err) == (0, "")
    assert time.monotonic() - began < 5
    (count,) = re.findall(r"^  \[200\]\t(\d+) responses$", out, re.MULTILINE)
    assert 4 <= int(count) <= len(target.requests)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "no URL"),
        (["-n", "5"], "no URL"),
        (["podinfo:9898"], "'podinfo:9898' is no URL"),
        (["ftp://podinfo/"], "is no URL"),
        (["http://podinfo:99999999/"], "is no URL"),
        (["-n", "5", "-c", "10", "http://x/"], "flag -n (5) must not be less than -c (10)"),
        (["-c", "0", "http://x/"], "flag -c: 0 must be between 1 and 10000"),
        (["-n", "many", "http://x/"], "flag -n: 'many' is no whole number"),
        (["-q", "nan", "http://x/"], "flag -q: 'nan' must be between"),
        (["-q", "-5", "http://x/"], "flag -q: '-5' must be between"),
        (["-z", "30", "http://x/"], "flag -z: '30' is no duration"),
        (["-x", "proxy:80", "http://x/"], "flag -x: not supported here: proxies"),
        (["-h2", "http://x/"], "flag -h2: HTTP/2 is not supported here"),
        (["-o", "json", "http://x/"], "flag -o: 'json' is not supported"),
        (["-H", "nocolon", "http://x/"], "flag -H: 'nocolon' is not of the form"),
        (["-a", "nopassword", "http://x/"], "flag -a: write username:password"),
        (["-D", "/nosuch/file", "http://x/"], "flag -D: /nosuch/file cannot be read: No such file"),
        (["-k", "http://x/"], "flag -k is not known here"),
    ],
)
def test_a_wrong_command_line_is_one_clear_line(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 1
    shown = capsys.readouterr()
    assert words in shown.err
    assert (shown.err.count("\n"), shown.out) == (1, "")


def test_words_after_the_url_are_ignored_with_a_warning(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["-n", "1", "-c", "1", "http://127.0.0.1:1/", "-n", "50"]) == 0
    shown = capsys.readouterr()
    assert shown.err == "hey: what stands after the URL is not read: -n 50\n"
    assert "  [1]\tconnection refused\n" in shown.out


def without_hey() -> str:
    """The PATH of this process without directories that hold a hey."""
    return os.pathsep.join(part for part in os.environ["PATH"].split(os.pathsep) if not (Path(part) / "hey").exists())


async def test_hey_in_a_command_is_our_generator_when_there_is_no_other(target: Target, quick: Callable[..., QuickLoadTester]) -> None:
    server = await asyncio.to_thread(quick, path=without_hey())
    line = f"hey -z 500ms -q 20 -c 2 {target.url}/"
    reply = await asyncio.to_thread(server.post, "/", hook(line))
    assert reply.status_code == 202
    task = await asyncio.to_thread(server.finished, reply)
    assert (task["state"], task["exitCode"]) == ("succeeded", 0)
    assert f"[200]\t{len(target.requests)} responses" in task["output"]
    assert 8 <= len(target.requests) <= 20
    piped = f"hey -n 4 -c 2 {target.url}/ | grep responses | tr '\\t' ' '; hey -n 60 -c 2 {target.url}/ | head -n 1"
    reply = await asyncio.to_thread(server.post, "/", hook(piped, type="bash", returnCmdOutput="true"))
    assert reply.text == "  [200] 4 responses\n\n"


def test_a_real_hey_on_the_path_is_run_as_it_is(quick: Callable[..., QuickLoadTester], tmp_path: Path) -> None:
    program(tmp_path / "bin", "hey", 'echo "the real one" "$@"')
    server = quick(path=f"{tmp_path / 'bin'}:{os.defpath}")
    reply = server.post("/", hook("hey -x proxy http://podinfo/", type="bash", returnCmdOutput="true"))
    assert reply.text == "the real one -x proxy http://podinfo/\n"


async def test_a_load_that_times_out_still_reports(target: Target, start: Callable[..., LoadTester]) -> None:
    server = await asyncio.to_thread(start, "-timeout=5s", path=without_hey())
    reply = await asyncio.to_thread(server.post, "/", hook(f"hey -z 1h -q 10 -c 1 {target.url}/"))
    task = await asyncio.to_thread(server.finished, reply)
    assert task["state"] == "timeout"
    assert re.search(r"\[200\]\t\d+ responses", task["output"])
