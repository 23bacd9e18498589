"""Real HTTP load with a memory: which version answered each client, when, and what failed.

An open loop: requests start on time whether or not earlier ones have come back, so a slow version cannot hide its slowness by slowing
the load (coordinated omission). Runs in a thread of its own, usable from plain and from async tests. Rejected: `hey` and k6 (they
report status codes and latencies, not who answered).
"""

import asyncio
import json
import threading
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import aiohttp

from tests.testbed import binomial


@dataclass(frozen=True, slots=True)
class Answer:
    """One request. `at` and `seconds` in seconds (`at` since the traffic began); `status` 0 and an `error` when nothing came back."""

    at: float
    seconds: float
    status: int
    pod: str = ""
    image: str = ""
    version: str = ""
    error: str = ""
    user: int = 0

    @property
    def ok(self) -> bool:
        """Whether the user got what was asked for."""
        return 200 <= self.status < 400


@dataclass
class Tally:
    """What clients saw in a span of time. `failures` counts by reason: "503", "TimeoutError: ..."; the others count good answers."""

    total: int = 0
    pods: Counter[str] = field(default_factory=Counter)
    images: Counter[str] = field(default_factory=Counter)
    versions: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)

    @classmethod
    def of(cls, answers: Iterable[Answer]) -> Self:
        """Count answers."""
        tally = cls()
        for answer in answers:
            tally.total += 1
            if answer.ok:
                tally.pods[answer.pod] += 1
                tally.images[answer.image] += 1
                tally.versions[answer.version] += 1
            else:
                # A status that an application chose still says who answered: `503 from app:2` is not the gateway's 503.
                source = f" from {answer.image}" if answer.image else ""
                tally.failures[(answer.error or str(answer.status)) + source] += 1
        return tally

    @property
    def failed(self) -> int:
        """How many requests failed."""
        return self.failures.total()


@dataclass(frozen=True)
class Ask:
    """What each request says. `host` goes into the Host header; `timeout` is in seconds, for the whole answer.

    The timeout is longer than the gateway's own (15 s): on a machine that does other things as well, an answer that is late is late and no
    failure, and what gives up shall be what is tested. Nothing is to be compressed, which cost Envoy and the client a fifth of a request.
    """

    url: str
    host: str
    path: str = "/"
    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=dict)
    cookies: Mapping[str, str] = field(default_factory=dict)
    timeout: float = 20.0

    def session(self, *, keep_cookies: bool = False, connections: int = 100) -> aiohttp.ClientSession:
        """A client; with `keep_cookies` it is a browser that sends back what servers set."""
        headers = {"Accept-Encoding": "identity"} | dict(self.headers) | {"Host": self.host}
        if self.cookies and not keep_cookies:
            headers["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        jar = aiohttp.CookieJar(unsafe=True) if keep_cookies else aiohttp.DummyCookieJar()
        if keep_cookies:
            jar.update_cookies(dict(self.cookies))
        limit = aiohttp.ClientTimeout(total=self.timeout)
        return aiohttp.ClientSession(headers=headers, cookie_jar=jar, timeout=limit, connector=aiohttp.TCPConnector(limit=connections))

    async def once(self, session: aiohttp.ClientSession, *, began: float, user: int = 0) -> Answer:
        """Send one request and read the whole answer; never raises for what the network does."""
        sent = time.monotonic()
        try:
            async with session.request(self.method, self.url + self.path, allow_redirects=False) as answer:
                body, status = await answer.read(), answer.status
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            reason = f"{type(error).__name__}: {error}".removesuffix(": ")
            return Answer(at=sent - began, seconds=time.monotonic() - sent, status=0, error=reason, user=user)
        said = _json(body)
        return Answer(
            at=sent - began, seconds=time.monotonic() - sent, status=status, user=user,
            pod=said.get("pod", ""), image=said.get("image", ""), version=said.get("version", ""),
        )  # fmt: skip


class Traffic:
    """Load at a constant rate until stopped, as a context manager. Times are in seconds since it began.

    `users` clients take turns, each with its own connections, and with its own cookies when `keep_cookies`: for session affinity.
    """

    def __init__(self, ask: Ask, *, rate: float = 50.0, users: int = 1, keep_cookies: bool = False) -> None:
        self.ask = ask
        self.rate = rate
        self.answers: list[Answer] = []
        self._users = users
        self._keep_cookies = keep_cookies
        self._began = 0.0
        self._stop = threading.Event()
        self._outcome: Future[None] = Future()
        self._thread = threading.Thread(target=self._work, name="traffic", daemon=True)

    def __enter__(self) -> Self:
        self._began = time.monotonic()
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    @property
    def now(self) -> float:
        """Seconds since it began: the `since` of a later `tally`."""
        return time.monotonic() - self._began

    def stop(self) -> Tally:
        """End it, wait for requests under way, and count everything."""
        self._stop.set()
        self._thread.join()
        self._outcome.result()
        return self.tally()

    def tally(self, since: float = 0.0, until: float | None = None) -> Tally:
        """What requests sent in this span have brought so far."""
        end = float("inf") if until is None else until
        return Tally.of(answer for answer in list(self.answers) if since <= answer.at < end)

    def windows(self, seconds: float) -> list[Tally]:
        """The whole run, one tally per window of that length."""
        answers = list(self.answers)
        count = int(max((a.at for a in answers), default=-1) // seconds) + 1
        split: list[list[Answer]] = [[] for _ in range(count)]
        for answer in answers:
            split[int(answer.at // seconds)].append(answer)
        return [Tally.of(window) for window in split]

    def collect(self, count: int, *, timeout: float = 120.0) -> Tally:
        """The tally of the next `count` requests sent from now on. Raises TimeoutError."""
        known, since, deadline = len(self.answers), self.now, time.monotonic() + timeout
        # What is sent from now on is answered from now on: the answers before `known`, thousands at times, need no second look.
        while len(fresh := [answer for answer in self.answers[known:] if answer.at >= since]) < count:
            if self._outcome.done():
                self._outcome.result()
            if time.monotonic() > deadline:
                raise TimeoutError(f"{len(fresh)} of {count} answers in {timeout:g} s")
            time.sleep(0.05)
        return Tally.of(sorted(fresh, key=lambda answer: answer.at)[:count])

    def _work(self) -> None:
        try:
            asyncio.run(self._load())
        except BaseException as error:
            self._outcome.set_exception(error)
        else:
            self._outcome.set_result(None)

    async def _load(self) -> None:
        sessions = [self.ask.session(keep_cookies=self._keep_cookies) for _ in range(self._users)]
        under_way: set[asyncio.Task[None]] = set()
        number = 0
        while not self._stop.is_set():
            user = number % self._users
            task = asyncio.create_task(self._one(sessions[user], user=user))
            under_way.add(task)
            task.add_done_callback(under_way.discard)
            number += 1
            await asyncio.sleep(max(0.0, self._began + number / self.rate - time.monotonic()))
        await asyncio.gather(*under_way)
        for session in sessions:
            await session.close()

    async def _one(self, session: aiohttp.ClientSession, *, user: int) -> None:
        self.answers.append(await self.ask.once(session, began=self._began, user=user))


def burst(ask: Ask, count: int, *, concurrency: int = 20) -> list[Answer]:
    """`count` requests as fast as `concurrency` clients can; for a split that does not change meanwhile."""
    outcome: Future[list[Answer]] = Future()

    def work() -> None:
        try:
            outcome.set_result(asyncio.run(_burst(ask, count, concurrency=concurrency)))
        except BaseException as error:
            outcome.set_exception(error)

    thread = threading.Thread(target=work, name="burst", daemon=True)  # a thread, because an async test has a loop already
    thread.start()
    thread.join()
    return outcome.result()


async def _burst(ask: Ask, count: int, *, concurrency: int) -> list[Answer]:
    began, left, answers = time.monotonic(), iter(range(count)), []

    async def client(session: aiohttp.ClientSession) -> None:
        for _ in left:
            answers.append(await ask.once(session, began=began))

    async with ask.session(connections=concurrency) as session:
        await asyncio.gather(*(client(session) for _ in range(concurrency)))
    return answers


def assert_split(counts: Mapping[str, int], expected_share: Mapping[str, float], confidence: float = 1 - 1e-6) -> None:
    """Fail unless every count is what chance allows for its expected share.

    Two-sided exact binomial test of each key, alpha = (1 - confidence) divided by the number of keys (Bonferroni), so a true split fails
    with probability 1e-6 by default. A share of 0 allows no answer at all; so does a key that is not expected.
    """
    if abs(sum(expected_share.values()) - 1.0) > 1e-9:
        raise ValueError(f"expected shares must add up to 1: {dict(expected_share)}")
    total = sum(counts.values())
    assert total > 0, "no request was answered"
    alpha = (1 - confidence) / len(expected_share)
    problems = [f"{key}: {count}, and none was expected" for key, count in counts.items() if count and key not in expected_share]
    for key, share in expected_share.items():
        count = counts.get(key, 0)
        if min(binomial.tails(count, total, share)) < alpha / 2:
            low, high = binomial.bounds(total, share, alpha=alpha)
            problems.append(f"{key}: {count} of {total} ({count / total:.1%}), expected {share:.1%}, which allows {low} to {high}")
    assert not problems, "the split is not what was asked for; " + "; ".join(problems)


def _json(body: bytes) -> dict[str, str]:
    try:
        said = json.loads(body)
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}
