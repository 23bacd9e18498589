"""The sandbox's node: Deployments become ready because their pods really run, as local processes.

One small level-triggered loop instead of upstream's chain of controllers (ReplicaSets, scheduler, kubelet): what a progressive delivery
operator sees is a Deployment whose status counts updated and available replicas, Pods with addresses, and Services that select them. New pods
come first and old ones go only when all new ones answer, so a rollout here is as gapless as a real one, and one that cannot succeed takes
nothing away.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import sys
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from aiohttp import ClientError, ClientSession, ClientTimeout

from canary.core.errors import CanaryError
from canary.kube.cluster import Cluster
from canary.kube.resource import DEPLOYMENTS, PODS, Object
from canary.sandbox.app import Behaviour
from canary.sandbox.crew import Crew
from canary.sandbox.processes import Child, Ended, free_port
from canary.sandbox.statuses import deployment_status, pod_status

Registry = Mapping[str, Behaviour]
"""What each image does, as a container registry would hold it; an unknown image cannot be pulled."""

PROBE_SECONDS = 0.5
"""Between two questions for a pod's health. A kubelet asks at most every second; here a version is a few seconds old when it is judged."""
_START_SECONDS = 15.0
"""Within which a pod must answer for the first time."""


@dataclass(slots=True, eq=False)
class Pod:
    """One process that stands for a pod."""

    namespace: str
    name: str
    owner: str
    template: str
    labels: Mapping[str, str]
    image: str
    port: int
    child: Child
    ready: bool = False


class Node:
    """Runs the pods of all Deployments.

    `changed` is called whenever the set of ready pods has changed, and returns when the network has followed.
    """

    def __init__(self, api: Cluster, images: Registry, folder: Path, *, crew: Crew, changed: Callable[[], Awaitable[None]]) -> None:
        self._api = api
        self._images = images
        self._folder = folder
        self._crew = crew
        self._changed = changed
        self._pods: dict[tuple[str, str], list[Pod]] = {}
        self._locks: dict[tuple[str, str], asyncio.Lock] = {}
        self._serial = 0

    def ready_pods(self) -> list[Pod]:
        """All pods that answer."""
        return [pod for pods in self._pods.values() for pod in pods if pod.ready]

    async def reconcile(self, deployment: Object) -> None:
        """Make the processes of this Deployment as its spec says, and its status as the processes are."""
        key = (deployment["metadata"]["namespace"], deployment["metadata"]["name"])
        async with self._locks.setdefault(key, asyncio.Lock()):
            pods = self._pods.setdefault(key, [])
            want = 0 if "deletionTimestamp" in deployment["metadata"] else deployment["spec"].get("replicas", 1)
            template = _hash(deployment["spec"]["template"])
            current = [pod for pod in pods if pod.template == template]
            current += [await self._start(key, deployment, template) for _ in range(want - len(current))]
            await self._status(deployment, want)
            for pod in current[want:]:
                await self._stop(key, pod)
            await self._until_ready(current[:want])
            if all(pod.ready for pod in current[:want]):
                for pod in [pod for pod in pods if pod.template != template]:
                    await self._stop(key, pod)
            await self._status(deployment, want)

    async def remove(self, namespace: str, name: str) -> None:
        """The Deployment is gone: so are its pods."""
        key = (namespace, name)
        async with self._locks.setdefault(key, asyncio.Lock()):
            for pod in list(self._pods.get(key, ())):
                await self._stop(key, pod)

    async def probe(self) -> None:
        """Ask every pod for its health again and again, as a kubelet does; the pods count these requests like any other."""
        async with ClientSession(timeout=ClientTimeout(total=1)) as session:
            while True:
                await asyncio.gather(*(_answers(session, pod) for pod in self.ready_pods()))
                await asyncio.sleep(PROBE_SECONDS)

    async def _start(self, key: tuple[str, str], deployment: Object, template: str) -> Pod:
        container = deployment["spec"]["template"]["spec"]["containers"][0]
        image, port = container["image"], free_port()
        self._serial += 1
        name = f"{key[1]}-{template}-{_safe(f'{key}{self._serial}', 5)}"
        behaviour = self._images.get(image, Behaviour())
        command: list[str | Path] = [sys.executable, "-I", "-S", Path(__file__).with_name("app.py"), f"--port={port}", f"--pod={name}"]
        command += [f"--version={image.rpartition(':')[2]}", f"--error-rate={behaviour.error_rate}", f"--latency-ms={behaviour.latency_ms}"]
        child = Child(f"pod {name}", command, log=self._folder / f"pod-{name}.log")
        labels = deployment["spec"]["template"]["metadata"].get("labels") or {}
        pod = Pod(key[0], name, key[1], template, labels, image, port, child)
        self._pods[key].append(pod)
        if image in self._images:
            await self._crew.start(child)
        await self._publish(pod, deployment)
        return pod

    async def _until_ready(self, pods: Iterable[Pod]) -> None:
        """Wait for all that can become ready; a pod whose image cannot be pulled never does. Raises Ended."""
        loop = asyncio.get_running_loop()
        end = loop.time() + _START_SECONDS
        async with ClientSession(timeout=ClientTimeout(total=1)) as session:
            for pod in [pod for pod in pods if not pod.ready and pod.image in self._images]:
                while not await _answers(session, pod):
                    if loop.time() > end:
                        raise Ended(f"{pod.child.name} does not answer after {_START_SECONDS:g} s", detail=pod.child.tail())
                    await asyncio.sleep(0.02)
                pod.ready = True
                await self._pod_status(pod)
                await self._changed()

    async def _stop(self, key: tuple[str, str], pod: Pod) -> None:
        """Out of the network first, then the process: whoever is being answered still gets his answer."""
        self._pods[key].remove(pod)
        if pod.ready:
            await self._changed()
        await self._crew.dismiss(pod.child)
        with contextlib.suppress(CanaryError):
            await self._api.delete(PODS, pod.namespace, pod.name)

    async def _publish(self, pod: Pod, deployment: Object) -> None:
        template = deployment["spec"]["template"]
        owner = {"apiVersion": "apps/v1", "kind": "Deployment", "name": pod.owner, "uid": deployment["metadata"]["uid"], "controller": True}
        meta = {"name": pod.name, "namespace": pod.namespace, "labels": dict(pod.labels), "ownerReferences": [owner]}
        annotations = template["metadata"].get("annotations")
        if annotations:
            meta["annotations"] = annotations
        with contextlib.suppress(CanaryError):
            await self._api.create(PODS, {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": template["spec"]})
            await self._pod_status(pod)

    async def _pod_status(self, pod: Pod) -> None:
        status = pod_status(image=pod.image, ready=pod.ready, pulled=pod.image in self._images)
        with contextlib.suppress(CanaryError):
            await self._api.merge(PODS, pod.namespace, pod.name, {"status": status}, subresource="status")

    async def _status(self, deployment: Object, want: int) -> None:
        meta = deployment["metadata"]
        pods = self._pods[meta["namespace"], meta["name"]]
        template = _hash(deployment["spec"]["template"])
        updated = [pod for pod in pods if pod.template == template][:want]
        status = deployment_status(
            deployment,
            want=want,
            replicas=len(pods),
            updated=len(updated),
            updated_ready=sum(pod.ready for pod in updated),
            ready=sum(pod.ready for pod in pods),
        )
        with contextlib.suppress(CanaryError):  # deleted or changed meanwhile: the next event brings us back
            await self._api.merge(DEPLOYMENTS, meta["namespace"], meta["name"], {"status": status}, subresource="status")


async def _answers(session: ClientSession, pod: Pod) -> bool:
    """The readiness probe. The same path before and after: the first one begins the series that the next ones add to."""
    with contextlib.suppress(ClientError, TimeoutError):
        async with session.get(f"http://127.0.0.1:{pod.port}/readyz") as answer:
            await answer.read()
            return answer.status == 200
    return False


def _hash(template: Object) -> str:
    return _safe(json.dumps(template, sort_keys=True), 10)


def _safe(text: str, length: int) -> str:
    """A hash in the letters of which Kubernetes makes names of ReplicaSets and Pods; queries rely on them."""
    alphabet = "bcdfghjklmnpqrstvwxz2456789"
    return "".join(alphabet[byte % len(alphabet)] for byte in hashlib.sha256(text.encode()).digest()[:length])
