"""A real Prometheus over the sandbox's pods and its Envoy.

Pods are scraped through one address that asks them all and adds the labels which pod discovery would attach in a cluster
(`kubernetes_namespace`, `kubernetes_pod_name`): Prometheus looks for new targets only every five seconds, and half a minute of a demo would pass
before a new version is measured at all.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from aiohttp import ClientError, ClientSession, ClientTimeout, web

from canary.sandbox.crew import Crew
from canary.sandbox.processes import Child, free_port, listening

_SERIES = re.compile(r"^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)$")


@dataclass(frozen=True, slots=True)
class ScrapeTarget:
    """One pod to scrape."""

    address: str
    namespace: str
    pod: str


class PodMetrics:
    """`/metrics` of all pods together, each series labelled with its pod. A pod that does not answer within `timeout` seconds is left out."""

    def __init__(self, targets: Callable[[], Iterable[ScrapeTarget]], *, timeout: float = 0.2) -> None:
        self.port = free_port()
        self._targets = targets
        self._timeout = ClientTimeout(total=timeout)
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Listen."""
        app = web.Application()
        app.router.add_get("/metrics", self._scrape)
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()

    async def stop(self) -> None:
        """Stop listening."""
        if self._runner:
            await self._runner.cleanup()

    async def _scrape(self, _: web.Request) -> web.Response:
        async with ClientSession(timeout=self._timeout) as session:
            texts = await asyncio.gather(*(self._pod(session, target) for target in self._targets()))
        return web.Response(text="".join(texts), headers={"Content-Type": "text/plain; version=0.0.4"})

    @staticmethod
    async def _pod(session: ClientSession, target: ScrapeTarget) -> str:
        with contextlib.suppress(ClientError, TimeoutError):
            async with session.get(f"http://{target.address}/metrics") as answer:
                return labelled(await answer.text(), target)
        return ""


def labelled(text: str, target: ScrapeTarget) -> str:
    """The text format with the pod's labels in front of each series' own; comments go, since families repeat between pods."""
    own = f'kubernetes_namespace="{target.namespace}",kubernetes_pod_name="{target.pod}"'
    found = (_SERIES.match(line) for line in text.splitlines())
    return "".join(f"{one[1]}{{{own}{',' if one[2] else ''}{one[2] or ''}}} {one[3]}\n" for one in found if one)


class Prometheus:
    """Start it with its targets. `scrape_seconds` is short, so that a version of a few seconds' age has been measured twice."""

    def __init__(self, binary: Path, folder: Path, *, scrape_seconds: float = 0.25) -> None:
        self._folder = folder
        self._port = free_port()
        self._scrape = scrape_seconds
        flags = [f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/prometheus-data", "--log.level=warn"]
        command: list[str | Path] = [binary, *flags, f"--web.listen-address=127.0.0.1:{self._port}"]
        self._child = Child("prometheus", command, log=folder / "prometheus.log")

    @property
    def url(self) -> str:
        """Base URL of its API."""
        return f"http://127.0.0.1:{self._port}"

    async def start(self, crew: Crew, *, pods: str, envoy: str) -> None:
        """Returns when it listens; its first scrape comes five seconds later (`measures`). `pods`, `envoy`: addresses to scrape."""
        interval = f"{int(self._scrape * 1000)}ms"
        config = {
            "global": {"scrape_interval": interval, "scrape_timeout": interval},
            "scrape_configs": [
                {"job_name": "pods", "honor_labels": True, "static_configs": [{"targets": [pods]}]},
                {"job_name": "envoy", "metrics_path": "/stats/prometheus", "static_configs": [{"targets": [envoy]}]},
            ],
        }
        (self._folder / "prometheus.yml").write_text(json.dumps(config))  # JSON is YAML
        await crew.start(self._child, ready=lambda: listening(self._port))

    async def measures(self) -> bool:
        """Whether it has scraped both: it hands new targets to its scrapers only every five seconds, whatever the interval is."""
        try:
            limits, query = ClientTimeout(total=5), {"query": "up == 1"}
            async with ClientSession(self.url, timeout=limits) as session, session.get("/api/v1/query", params=query) as answer:
                return len((await answer.json())["data"]["result"]) == 2
        except (ClientError, TimeoutError, KeyError, ValueError):
            return False
