"""One HTTP server that answers for every pod of the cluster: the containers that KWOK does not run.

Every address of the pod range is local (`netns`), so the connection's own address says which pod was called, and the server behaves as
that pod's container would:

| on a pod's address | answer |
|---|---|
| `/` and anything else | `{"pod", "namespace", "image", "version"}`; 500 for a share ERROR_RATE (0..1) of requests, after LATENCY_MS |
| `/status/CODE` | that status, at once |
| `/delay/SECONDS` | as `/`, that much later |
| `/headers` | as `/`, with the request's headers under `headers` |
| `/metrics` | that pod's `http_request_duration_seconds` and `http_requests_total` |

A pod that is younger than COLD_SECONDS answers COLD_MS later when it has not seen the like yet: always at first, then ever less often. (All of
them late up to a moment would be a moment at which two pods of almost the same age are as different as can be.)

These are the environment of the pod's first container; annotations (`testbed/error-rate`, `testbed/latency-ms`, `testbed/cold-seconds`,
`testbed/cold-ms`) override them on a live pod. On 127.0.0.1: `/metrics` of all pods together, `/requests` as JSON.

A deleted pod goes on answering for DRAIN seconds, as an application with a preStop pause does: a request that the mesh sends in the
moment between deletion and its own update of endpoints is the application's affair, not the operator's.
Rejected: Python's http.server (head and body in two writes: 40 ms per request for the delayed acknowledgement).

    podserver.py --server URL --ca FILE --token-file FILE [--port 9898 ...]
"""

import argparse
import asyncio
import json
import random
import ssl
import sys
import time
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

DRAIN = 4.0
BUCKETS = (0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, float("inf"))


@dataclass
class Histogram:
    """Durations in seconds, cumulative per bucket."""

    count: int = 0
    total: float = 0.0
    buckets: list[int] = field(default_factory=lambda: [0] * len(BUCKETS))

    def add(self, seconds: float) -> None:
        """Count one request."""
        self.count += 1
        self.total += seconds
        for index, bound in enumerate(BUCKETS):
            self.buckets[index] += seconds <= bound


@dataclass
class Pod:
    """What a pod's container would know about itself, and what it has counted: a histogram per status code."""

    uid: str
    namespace: str
    name: str
    image: str
    error_rate: float
    latency: float
    born: float = 0.0
    cold_seconds: float = 0.0
    cold_latency: float = 0.0
    requests: dict[int, Histogram] = field(default_factory=dict)

    @property
    def version(self) -> str:
        """The tag of the image, or its digest."""
        _, _, last = self.image.rpartition("/")
        return last.partition("@")[2] or last.partition(":")[2]

    def pause(self, now: float, chance: float) -> float:
        """Seconds that it takes for an answer at `now` (Unix time, seconds). `chance` (0..1) decides whether it has seen the like."""
        return self.latency + (self.cold_latency if chance * self.cold_seconds < self.born + self.cold_seconds - now else 0.0)

    def metrics(self) -> list[str]:
        """Text exposition. Both spellings of the pod's labels that scrape configurations commonly give."""
        who = f'kubernetes_namespace="{self.namespace}",kubernetes_pod_name="{self.name}",namespace="{self.namespace}",pod="{self.name}"'
        lines = []
        for status, durations in self.requests.items():
            labels, name = f'{who},status="{status}"', "http_request_duration_seconds"
            for bound, count in zip(BUCKETS, durations.buckets, strict=True):
                lines.append(f'{name}_bucket{{{labels},le="{"+Inf" if bound == float("inf") else bound}"}} {count}')
            lines += [f"{name}_sum{{{labels}}} {durations.total}", f"{name}_count{{{labels}}} {durations.count}"]
        return lines

    def counted(self) -> list[dict[str, Any]]:
        """The answers so far, an entry per status."""
        who = {"namespace": self.namespace, "pod": self.name, "image": self.image}
        return [who | {"status": status, "count": durations.count} for status, durations in self.requests.items()]

    def totals(self) -> list[str]:
        """The counter that many metric templates read."""
        who = f'kubernetes_namespace="{self.namespace}",kubernetes_pod_name="{self.name}",namespace="{self.namespace}",pod="{self.name}"'
        return [f'http_requests_total{{{who},status="{status}"}} {durations.count}' for status, durations in self.requests.items()]


def exposition(pods: list[Pod]) -> str:
    """The metrics page of these pods."""
    lines = ["# TYPE http_request_duration_seconds histogram", *(line for pod in pods for line in pod.metrics())]
    lines += ["# TYPE http_requests_total counter", *(line for pod in pods for line in pod.totals())]
    return "\n".join(lines) + "\n"


def pod_of(item: dict[str, Any]) -> tuple[str, Pod] | None:
    """The address and the pod of an API object, once it has an address."""
    address = item.get("status", {}).get("podIP")
    if not address:
        return None
    meta, container = item["metadata"], item["spec"]["containers"][0]
    env = {entry["name"]: entry.get("value", "") for entry in container.get("env", [])}
    notes = meta.get("annotations", {})

    def set_to(name: str) -> float:
        return float(notes.get(f"testbed/{name}") or env.get(name.upper().replace("-", "_")) or 0)

    pod = Pod(
        uid=meta["uid"],
        namespace=meta["namespace"],
        name=meta["name"],
        image=container["image"],
        error_rate=set_to("error-rate"),
        latency=set_to("latency-ms") / 1000,
        born=datetime.fromisoformat(meta["creationTimestamp"]).timestamp(),
        cold_seconds=set_to("cold-seconds"),
        cold_latency=set_to("cold-ms") / 1000,
    )
    return address, pod


class Directory:
    """Which pod has which address, kept by a watch."""

    def __init__(self) -> None:
        self.pods: dict[str, Pod] = {}

    def seen(self, item: dict[str, Any]) -> None:
        """A pod was added or changed; its counters survive a change."""
        found = pod_of(item)
        if found is None:
            return
        address, pod = found
        known = self.pods.get(address)
        if known is not None and known.uid == pod.uid:
            pod.requests = known.requests
        self.pods[address] = pod

    def gone(self, address: str, uid: str) -> None:
        """A pod was deleted; forget it after the drain, unless the address belongs to another by then."""

        def forget() -> None:
            if address in self.pods and self.pods[address].uid == uid:
                del self.pods[address]

        asyncio.get_running_loop().call_later(DRAIN, forget)

    async def follow(self, session: aiohttp.ClientSession) -> None:
        """List and watch for ever; a broken watch starts again with a list."""
        while True:
            try:
                await self._list_and_watch(session)
            except (aiohttp.ClientError, TimeoutError, ValueError) as error:
                print(f"watch: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
                await asyncio.sleep(0.5)

    async def _list_and_watch(self, session: aiohttp.ClientSession) -> None:
        async with session.get("/api/v1/pods", raise_for_status=True) as answer:
            listed = await answer.json()
        present = {item["metadata"]["uid"] for item in listed["items"]}
        for address, pod in list(self.pods.items()):
            if pod.uid not in present:
                self.gone(address, pod.uid)
        for item in listed["items"]:
            self.seen(item)
        query = {"watch": "1", "resourceVersion": listed["metadata"]["resourceVersion"]}
        async with session.get("/api/v1/pods", params=query, raise_for_status=True) as answer:
            async for line in answer.content:
                event = json.loads(line)
                if event["type"] == "ERROR":
                    return
                if event["type"] != "DELETED":
                    self.seen(event["object"])
                elif found := pod_of(event["object"]):
                    self.gone(found[0], found[1].uid)


class Server:
    """Answers for the pods of a directory."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """One request to a pod's address or to ours."""
        began = time.perf_counter()
        assert request.transport is not None
        address = request.transport.get_extra_info("sockname")[0]
        pod = self._directory.pods.get(address)
        if pod is None:
            return self._about(request.path) if address == "127.0.0.1" else web.Response(status=503, text=f"no pod has {address}\n")
        if request.path == "/metrics":
            return web.Response(text=exposition([pod]))
        status, body = await self._behave(pod, request)
        pod.requests.setdefault(status, Histogram()).add(time.perf_counter() - began)
        return web.json_response(body, status=status, headers={"x-pod": pod.name})

    async def _behave(self, pod: Pod, request: web.BaseRequest) -> tuple[int, dict[str, Any]]:
        body: dict[str, Any] = {"pod": pod.name, "namespace": pod.namespace, "image": pod.image, "version": pod.version}
        _, first, *rest = request.path.split("/")
        argument = rest[0] if rest else ""
        if first == "status" and argument.isdigit() and 200 <= int(argument) <= 599:
            return int(argument), body
        delay = float(argument) if first == "delay" and argument.replace(".", "", 1).isdigit() else 0.0
        if first == "headers":
            body["headers"] = {name.lower(): value for name, value in request.headers.items()}
        if pause := delay + pod.pause(time.time(), random.random()):
            await asyncio.sleep(pause)
        return (500 if random.random() < pod.error_rate else 200), body

    def _about(self, path: str) -> web.Response:
        pods = list(self._directory.pods.values())
        if path == "/metrics":
            return web.Response(text=exposition(pods))
        if path == "/requests":
            return web.json_response([entry for pod in pods for entry in pod.counted()])
        return web.Response(status=404, text="here: /metrics, /requests\n")


async def serve(options: argparse.Namespace) -> None:
    """Serve until killed."""
    directory = Directory()
    runner = web.ServerRunner(web.Server(Server(directory).answer, access_log=None))
    await runner.setup()
    for port in options.port or [9898]:
        await web.TCPSite(runner, "0.0.0.0", port, backlog=1024).start()
    headers = {"Authorization": f"Bearer {options.token_file.read_text(encoding='ascii').strip()}"}
    connector = aiohttp.TCPConnector(ssl=ssl.create_default_context(cafile=options.ca))
    limits = aiohttp.ClientTimeout(total=None, sock_connect=5)
    # A pod with a long status can exceed aiohttp's default line length: the watch sends one object per line.
    async with aiohttp.ClientSession(options.server, connector=connector, headers=headers, timeout=limits, read_bufsize=2**22) as session:
        await directory.follow(session)


def main() -> None:
    """Run as a program."""
    parser = argparse.ArgumentParser(description="Answers for every pod of the test bed.")
    parser.add_argument("--server", required=True)
    parser.add_argument("--ca", required=True)
    parser.add_argument("--token-file", type=Path, required=True)
    parser.add_argument("--port", type=int, action="append", help="repeatable; default 9898")
    asyncio.run(serve(parser.parse_args()))


if __name__ == "__main__":
    main()
