"""The application of the sandbox: a small stand-in for podinfo that tells who answered and measures itself.

`python -m canary.sandbox.app --port P --version 6.0.1 --pod podinfo-1 [--error-rate 0.2] [--latency-ms 600]`

Paths: `/` (JSON with pod and version), `/healthz`, `/readyz`, `/status/<code>`, `/delay/<seconds>`, `/metrics`. Errors and latency apply to
`/` only, as a bug in a release would. Written on asyncio streams, because a framework's overhead would be measured with it; head and body
go out in one write, or the peer's delayed ACK costs 40 ms a request.
"""

from __future__ import annotations

import argparse
import asyncio
import bisect
import contextlib
import json
import random
import signal
from collections import defaultdict
from dataclasses import dataclass

_REASONS = {200: "OK", 404: "Not Found", 500: "Internal Server Error"}
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What this version does to its users: share of failed answers (0 to 1), and added latency in milliseconds."""

    error_rate: float = 0.0
    latency_ms: float = 0.0


class Meter:
    """`http_request_duration_seconds` by path and status, as podinfo exports it."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, int], list[int]] = defaultdict(lambda: [0] * (len(BUCKETS) + 1))
        self._sums: dict[tuple[str, int], float] = defaultdict(float)

    def observe(self, path: str, status: int, seconds: float) -> None:
        """Count one answer."""
        self._counts[path, status][bisect.bisect_left(BUCKETS, seconds)] += 1
        self._sums[path, status] += seconds

    def text(self) -> str:
        """The text format of Prometheus."""
        lines = ["# TYPE http_request_duration_seconds histogram"]
        for (path, status), counts in self._counts.items():
            labels = f'method="GET",path="{path}",status="{status}"'
            total = 0
            for bound, count in zip((*(f"{b:g}" for b in BUCKETS), "+Inf"), counts, strict=True):
                total += count
                lines.append(f'http_request_duration_seconds_bucket{{{labels},le="{bound}"}} {total}')
            lines.append(f"http_request_duration_seconds_sum{{{labels}}} {self._sums[path, status]:.6f}")
            lines.append(f"http_request_duration_seconds_count{{{labels}}} {total}")
        return "\n".join(lines) + "\n"


class App:
    """One pod: `serve` is called for each connection, `finish` before the end."""

    def __init__(self, *, pod: str, version: str, behaviour: Behaviour) -> None:
        self._body = json.dumps({"hostname": pod, "version": version, "message": f"greetings from podinfo v{version}"})
        self._behaviour = behaviour
        self._meter = Meter()
        self._random = random.Random()
        self._answering = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection, one after another."""
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.LimitOverrunError, ValueError, IndexError):
            while head := await reader.readuntil(b"\r\n\r\n"):
                self._answering += 1
                try:
                    await self._exchange(reader, writer, head)
                finally:
                    self._answering -= 1
        writer.close()

    async def finish(self, seconds: float = 5.0) -> None:
        """Return when nobody is being answered any more, or after `seconds`."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self._answering:  # noqa: ASYNC110 - polled once, at the end of a life
                    await asyncio.sleep(0.01)

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: bytes) -> None:
        await _skip_body(reader, head)
        path = head.split(b" ", 2)[1].decode("latin-1").partition("?")[0]
        status, body = await self._answer(path)
        head_out = f"HTTP/1.1 {status} {_REASONS.get(status, 'status')}\r\ncontent-type: text/plain\r\ncontent-length: {len(body)}\r\n\r\n"
        writer.write((head_out + body).encode())
        await writer.drain()

    async def _answer(self, path: str) -> tuple[int, str]:
        if path == "/metrics":
            return 200, self._meter.text()
        began = asyncio.get_running_loop().time()
        status, body, name = await self._page(path)
        self._meter.observe(name, status, asyncio.get_running_loop().time() - began)
        return status, body

    async def _page(self, path: str) -> tuple[int, str, str]:
        kind, _, argument = path.strip("/").partition("/")
        match kind:
            case "healthz" | "readyz":
                return 200, "OK\n", kind
            case "status" if argument.isdigit() and 200 <= int(argument) <= 599:
                return int(argument), f"{argument}\n", "status"
            case "delay" if argument.isdigit():
                await asyncio.sleep(min(10, int(argument)))
                return 200, "late\n", "delay"
            case "":
                if self._behaviour.latency_ms:
                    await asyncio.sleep(self._behaviour.latency_ms / 1000)
                if self._random.random() < self._behaviour.error_rate:
                    return 500, "this version is broken\n", "root"
                return 200, self._body + "\n", "root"
        return 404, "not found\n", "other"


async def _skip_body(reader: asyncio.StreamReader, head: bytes) -> None:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            await reader.readexactly(int(value))


async def run(host: str, port: int, app: App) -> None:
    """Serve until SIGTERM, then finish what is being answered."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    server = await asyncio.start_server(app.serve, host, port, backlog=512)
    await stop.wait()
    server.close()
    await app.finish()


def main() -> None:
    """Parse arguments and serve."""
    parser = argparse.ArgumentParser(description="The application of the sandbox.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--pod", default="podinfo")
    parser.add_argument("--version", default="0")
    parser.add_argument("--error-rate", type=float, default=0.0)
    parser.add_argument("--latency-ms", type=float, default=0.0)
    flags = parser.parse_args()
    behaviour = Behaviour(error_rate=flags.error_rate, latency_ms=flags.latency_ms)
    asyncio.run(run(flags.host, flags.port, App(pod=flags.pod, version=flags.version, behaviour=behaviour)))


if __name__ == "__main__":
    main()
