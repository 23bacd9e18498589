"""`/healthz`, `/readyz` and `/metrics`, on followers too.

aiohttp's AppRunner in the operator's own loop: uvicorn replaces signal handlers and would fight kopf. Alive means that the
event loop turns and the scheduler was heard of lately, not merely that HTTP works (upstream's constant 200 hides a stuck
operator); ready means that the watch is up, or that this replica stands by.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import web

Check = Callable[[], str]
"""Returns an empty text when all is well, else what is wrong."""


class HealthServer:
    """Serves the three paths until closed. Raises OSError when the port is taken."""

    def __init__(self, *, host: str, port: int, alive: Check, ready: Check, metrics: Callable[[], bytes]) -> None:
        self._host, self._port = host, port
        self._alive, self._ready, self._metrics = alive, ready, metrics
        self._runner: web.AppRunner | None = None

    @property
    def port(self) -> int:
        """The port in use (useful when 0 was asked for)."""
        assert self._runner is not None
        return int(self._runner.addresses[0][1])

    async def start(self) -> None:
        app = web.Application()
        app.router.add_get("/healthz", self._answer(self._alive))
        app.router.add_get("/readyz", self._answer(self._ready))
        app.router.add_get("/metrics", self._scrape)
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False)
        await self._runner.setup()
        await web.TCPSite(self._runner, self._host or None, self._port).start()

    @staticmethod
    def _answer(check: Check) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def handler(_: web.Request) -> web.Response:
            problem = check()
            return web.Response(text=problem or "OK", status=503 if problem else 200)

        return handler

    async def _scrape(self, _: web.Request) -> web.Response:
        return web.Response(body=self._metrics(), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})

    async def close(self) -> None:
        if self._runner:
            await self._runner.cleanup()
