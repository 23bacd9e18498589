"""How the suite speaks to a server: raw HTTP with the credentials of a kubeconfig, and kubectl."""

import asyncio
import base64
import json
import shutil
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Self

import aiohttp
import pytest
import yaml

from canary.sandbox.server import ApiServer
from tests.testbed import tools

Object = dict[str, Any]
MERGE = "application/merge-patch+json"
JSON_PATCH = "application/json-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
APPLY = "application/apply-patch+yaml"
WIDGETS_FILE = Path(__file__).with_name("widgets.yaml")
DEFINITIONS: tuple[Object, ...] = tuple(yaml.safe_load_all(WIDGETS_FILE.read_text()))


@dataclass(frozen=True)
class Answer:
    """Status, parsed body (text where it is no JSON) and headers."""

    code: int
    body: Any
    headers: Any

    @property
    def reason(self) -> str:
        return str(self.body.get("reason", ""))

    @property
    def causes(self) -> dict[str, str]:
        """`field -> message` of the causes."""
        return {cause["field"]: cause["message"] for cause in self.body.get("details", {}).get("causes", [])}


class Driver:
    """One server and a namespace of its own. `server` is the sandbox's, None on a real cluster."""

    def __init__(self, *, kubeconfig: Path, namespace: str, server: ApiServer | None) -> None:
        self.kubeconfig = kubeconfig
        self.namespace = namespace
        self.server = server
        self.is_real = server is None
        config = yaml.safe_load(kubeconfig.read_text())
        self.cluster = config["clusters"][0]["cluster"]
        self.token = config["users"][0]["user"].get("token", "")
        self.url = self.cluster["server"]

    async def __aenter__(self) -> Self:
        context: ssl.SSLContext | bool = True
        if self.url.startswith("https"):
            data = self.cluster.get("certificate-authority-data")
            context = ssl.create_default_context(
                cafile=self.cluster.get("certificate-authority"), cadata=base64.b64decode(data).decode() if data else None
            )
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        connector = aiohttp.TCPConnector(ssl=context)
        self.session = aiohttp.ClientSession(self.url, headers={**headers, "User-Agent": "conformance/1"}, connector=connector)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.session.close()

    def path(self, resource: str, name: str = "", *, sub: str = "", namespace: str | None = None) -> str:
        """`widgets` -> the path in the own namespace; a name without group is built in."""
        group = GROUPS[resource]
        base = f"/apis/{group}" if "/" in group else f"/api/{group}"
        where = "" if resource in CLUSTER_SCOPED else f"/namespaces/{namespace or self.namespace}"
        return "/".join(part for part in (base + where, resource, name, sub) if part)

    async def call(
        self, method: str, path: str, body: Any = None, *, type: str = "application/json", accept: str = "application/json", expect: int | None = None,
    ) -> Answer:  # fmt: skip
        data = body if isinstance(body, (bytes, type_none)) else json.dumps(body).encode() if not isinstance(body, str) else body.encode()
        headers = {"Accept": accept} | ({"Content-Type": type} if data is not None else {})
        async with self.session.request(method, path, data=data, headers=headers) as response:
            text = await response.text()
            try:
                parsed = json.loads(text)
            except ValueError:
                parsed = text
            answer = Answer(response.status, parsed, response.headers)
        assert expect is None or answer.code == expect, f"{method} {path}: {answer.code} {answer.body}"
        return answer

    async def create(self, resource: str, obj: Object, *, query: str = "", expect: int = 201) -> Object:
        return (await self.call("POST", self.path(resource) + query, obj, expect=expect)).body

    async def get(self, resource: str, name: str, *, sub: str = "") -> Object:
        return (await self.call("GET", self.path(resource, name, sub=sub), expect=200)).body

    async def patch(
        self, resource: str, name: str, patch: Any, *, form: str = MERGE, sub: str = "", query: str = "", expect: int = 200
    ) -> Object:
        return (await self.call("PATCH", self.path(resource, name, sub=sub) + query, patch, type=form, expect=expect)).body

    async def apply(self, resource: str, obj: Object, *, manager: str, force: bool = False, sub: str = "") -> Answer:
        query = f"?fieldManager={manager}" + ("&force=true" if force else "")
        return await self.call("PATCH", self.path(resource, obj["metadata"]["name"], sub=sub) + query, obj, type=APPLY)

    async def delete(self, resource: str, name: str, options: Object | None = None, *, expect: int = 200) -> Object:
        return (await self.call("DELETE", self.path(resource, name), options, expect=expect)).body

    async def list(self, resource: str, query: str = "", *, expect: int = 200) -> Object:
        return (await self.call("GET", self.path(resource) + query, expect=expect)).body

    @asynccontextmanager
    async def watch(self, resource: str, query: str, *, accept: str = "application/json") -> AsyncIterator["Events"]:
        async with self.session.get(f"{self.path(resource)}?watch=1&{query}", headers={"Accept": accept}) as response:
            assert response.status == 200, await response.text()
            yield Events(response)

    async def eventually(self, what: str, probe: Callable[[], Awaitable[Any]], *, timeout: float = 15.0) -> Any:
        """The first truthy answer of the probe."""
        deadline = asyncio.get_running_loop().time() + timeout
        while True:
            if found := await probe():
                return found
            assert asyncio.get_running_loop().time() < deadline, f"{what} did not happen within {timeout} s"
            await asyncio.sleep(0.02)

    async def gone(self, resource: str, name: str) -> None:
        async def probe() -> bool:
            return (await self.call("GET", self.path(resource, name))).code == 404

        await self.eventually(f"{resource} {name} going away", probe)

    async def kubectl(self, *arguments: str, input: str | None = None, check: bool = True) -> str:
        """What kubectl writes to both streams."""
        command = [
            _kubectl(),
            "--kubeconfig",
            str(self.kubeconfig),
            "--cache-dir",
            str(self.kubeconfig.parent / "kubectl-cache"),
            "-n",
            self.namespace,
        ]
        process = await asyncio.create_subprocess_exec(
            *command, *arguments, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        out, _ = await process.communicate((input or "").encode())
        assert not check or process.returncode == 0, f"kubectl {' '.join(arguments)}: {out.decode()}"
        return out.decode()


@cache
def _kubectl() -> str:
    """The kubectl of the machine, else that of the test bed."""
    try:
        return shutil.which("kubectl") or str(tools.find("kubectl"))
    except tools.ToolMissingError as missing:
        pytest.skip(str(missing))


class Events:
    """The events of one watch, in order."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.response = response

    async def next(self, *, timeout: float = 10.0, skip: tuple[str, ...] = ("BOOKMARK",)) -> tuple[str, Object]:
        """(type, object) of the next event that is not skipped; ("END", {}) when the server ends the stream."""
        while True:
            line = await asyncio.wait_for(self.response.content.readline(), timeout)
            if not line:
                return "END", {}
            event = json.loads(line)
            if event["type"] not in skip:
                return event["type"], event["object"]

    async def rest(self, *, timeout: float = 15.0) -> list[tuple[str, Object]]:
        """Everything until the server ends the stream, bookmarks included."""
        out = []
        while (event := await self.next(timeout=timeout, skip=()))[0] != "END":
            out.append(event)
        return out


type_none = type(None)
GROUPS = {
    "widgets": "conformance.test/v1",
    "gadgets": "conformance.test/v1",
    "deployments": "apps/v1",
    "replicasets": "apps/v1",
    "daemonsets": "apps/v1",
    "ingresses": "networking.k8s.io/v1",
    "horizontalpodautoscalers": "autoscaling/v2",
    "leases": "coordination.k8s.io/v1",
    "endpointslices": "discovery.k8s.io/v1",
    "customresourcedefinitions": "apiextensions.k8s.io/v1",
    **dict.fromkeys(("namespaces", "nodes", "pods", "services", "endpoints", "configmaps", "secrets", "events", "serviceaccounts"), "v1"),
}
CLUSTER_SCOPED = frozenset(("gadgets", "namespaces", "nodes", "customresourcedefinitions"))


def widget(name: str, *, labels: dict[str, str] | None = None, **spec: Any) -> Object:
    metadata: Object = {"name": name} | ({"labels": labels} if labels else {})
    return {"apiVersion": "conformance.test/v1", "kind": "Widget", "metadata": metadata, "spec": {"colour": "red", **spec}}


def config_map(name: str, data: dict[str, str] | None = None, *, labels: dict[str, str] | None = None, **metadata: Any) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, **({"labels": labels} if labels else {}), **metadata},
        "data": data or {},
    }


def deployment(name: str, *, replicas: int | None = 0, image: str = "app:1", **container: Any) -> Object:
    """A Deployment; without replicas by default, so that no controller makes pods beside the test."""
    spec: Object = {
        "selector": {"matchLabels": {"app": name}},
        "template": {"metadata": {"labels": {"app": name}}, "spec": {"containers": [{"name": "app", "image": image, **container}]}},
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": spec | ({} if replicas is None else {"replicas": replicas}),
    }


def owners(obj: Object, manager: str, *, operation: str | None = None) -> Object:
    """The fields of a manager in managedFields; {} when it owns nothing."""
    for entry in obj["metadata"].get("managedFields", []):
        if entry["manager"] == manager and operation in (None, entry["operation"]):
            return entry["fieldsV1"]
    return {}
