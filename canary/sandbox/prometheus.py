"""A real Prometheus over the sandbox's pods and its Envoy.

Targets come from a file that is replaced whenever pods change (`file_sd`), with the labels that the built-in checks of the Gateway API read
(`kubernetes_namespace`, `kubernetes_pod_name`), as a cluster's pod discovery would attach them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from canary.sandbox.processes import Child, free_port, listening


@dataclass(frozen=True, slots=True)
class ScrapeTarget:
    """One pod to scrape."""

    address: str
    namespace: str
    pod: str


class Prometheus:
    """Start, give it targets, stop."""

    def __init__(self, binary: Path, folder: Path, *, scrape_seconds: float = 1.0) -> None:
        self._folder = folder
        self._port = free_port()
        self._scrape = scrape_seconds
        self._child = Child(
            "prometheus",
            [
                str(binary),
                f"--config.file={folder}/prometheus.yml",
                f"--storage.tsdb.path={folder}/prometheus-data",
                f"--web.listen-address=127.0.0.1:{self._port}",
                "--log.level=warn",
            ],
            log=folder / "prometheus.log",
        )

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    async def start(self, *, envoy_admin: str) -> None:
        """Returns when it listens; the first scrape comes some seconds later (its discovery waits five)."""
        milliseconds = int(self._scrape * 1000)
        config = {
            "global": {"scrape_interval": f"{milliseconds}ms", "scrape_timeout": f"{milliseconds}ms"},
            "scrape_configs": [
                {"job_name": "pods", "file_sd_configs": [{"files": [f"{self._folder}/targets.json"], "refresh_interval": "5s"}]},
                {"job_name": "envoy", "metrics_path": "/stats/prometheus", "static_configs": [{"targets": [envoy_admin]}]},
            ],
        }
        (self._folder / "prometheus.yml").write_text(json.dumps(config))  # JSON is YAML
        self.set_targets(())
        await self._child.start()
        await self._child.until(lambda: listening(self._port))

    def set_targets(self, targets: Iterable[ScrapeTarget]) -> None:
        """Replace the pods to scrape; atomic, because Prometheus reads the file whenever it changes."""
        groups = [
            {"targets": [one.address], "labels": {"kubernetes_namespace": one.namespace, "kubernetes_pod_name": one.pod}}
            for one in sorted(targets, key=lambda one: one.pod)
        ]
        new = self._folder / "targets.json.new"
        new.write_text(json.dumps(groups))
        new.replace(self._folder / "targets.json")

    async def stop(self) -> None:
        await self._child.stop()
