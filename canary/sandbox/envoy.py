"""A real Envoy as the sandbox's network, configured from Services, Pods and HTTPRoutes.

It is the cluster's DNS and its gateway in one: processes of the sandbox reach `http://podinfo:9898/` by using it as an HTTP proxy
(`http_proxy`), and the Host header finds the Service. An HTTPRoute that is attached to a Service, or names its host, splits by weight.
Configuration is files that Envoy watches (xDS over the file system), replaced by rename: no control plane, changes live in milliseconds.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import ClientError, ClientSession, ClientTimeout

from canary.kube.resource import Object
from canary.sandbox.crew import Crew
from canary.sandbox.processes import Child, Ended, free_port, listening

_PATIENCE = 5.0
"""Seconds within which Envoy must have taken a configuration; it takes milliseconds."""
_TYPE = "type.googleapis.com/envoy"


@dataclass(frozen=True, slots=True)
class Backend:
    """One Service port with the addresses behind it; `external` ones are processes of the sandbox that are no pods."""

    namespace: str
    service: str
    port: int
    addresses: tuple[tuple[str, int], ...]

    @property
    def cluster(self) -> str:
        """Envoy's name of it; the same shape as Contour's, so that dashboards look familiar."""
        return f"{self.namespace}_{self.service}_{self.port}"


class Envoy:
    """Start, configure, read counters. `home` is the namespace whose Services resolve by their short names."""

    def __init__(self, binary: Path, folder: Path, *, home: str) -> None:
        self.port = free_port()
        self.users_port = free_port()
        self.admin_port = free_port()
        self._folder = folder
        self._home = home
        # Hot restart would leave shared memory behind, which all Envoys of a machine have in common.
        flags: list[str | Path] = ["-c", folder / "envoy.json", "--concurrency", "1", "-l", "warning", "--disable-hot-restart"]
        self._child = Child("envoy", [binary, *flags], log=folder / "envoy.log")
        self._contents: dict[str, str] = {}
        self._versions: dict[str, str] = {}
        self._serial = itertools.count(1)
        self._lock = asyncio.Lock()

    @property
    def url(self) -> str:
        """The proxy for the cluster's own programs."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def users_url(self) -> str:
        """The proxy for users' traffic: the same network through a listener of its own, so that it is counted by itself."""
        return f"http://127.0.0.1:{self.users_port}"

    @property
    def admin(self) -> str:
        """Address of the statistics, in Prometheus' format at /stats/prometheus."""
        return f"127.0.0.1:{self.admin_port}"

    async def start(self, crew: Crew) -> None:
        """Returns when both proxies listen. Raises Ended."""
        self._place((), ())
        (self._folder / "envoy.json").write_text(json.dumps(self._bootstrap()))
        await crew.start(self._child, ready=lambda: listening(self.port) and listening(self.users_port))

    async def configure(self, backends: Sequence[Backend], routes: Iterable[Object]) -> None:
        """Bring clusters and routes in line; returns when Envoy has taken them. Raises Ended when it refuses."""
        async with self._lock:
            self._place(backends, routes)
            try:
                async with asyncio.timeout(_PATIENCE):
                    while not self._versions.items() <= (await self._taken()).items():  # noqa: ASYNC110 - a file, not an event
                        await asyncio.sleep(0.01)
            except TimeoutError:
                raise Ended("envoy did not take its new configuration", detail=self._child.tail()) from None

    async def users_requests(self) -> tuple[int, int]:
        """Requests that users have made, and how many of them failed. Raises OSError when Envoy does not answer.

        Counted at the listener: a cluster's own counters begin anew whenever its endpoints change.
        """
        found = dict(
            re.findall(r"(?m)^http\.users\.downstream_rq_(completed|5xx): (\d+)$", await self._stats("downstream_rq_(completed|5xx)"))
        )
        return int(found.get("completed", 0)), int(found.get("5xx", 0))

    async def _taken(self) -> dict[str, str]:
        """The versions of its configuration that Envoy says it uses, by file; nothing when it does not answer."""
        try:
            text = await self._stats("version_text")
        except OSError:
            return {}
        names = {"cluster_manager.cds": "cds.json", "http.mesh.rds.mesh": "rds.json"}
        return {names[name]: said for name, said in re.findall(r'(?m)^(.+)\.version_text: "(.*)"$', text) if name in names}

    async def _stats(self, pattern: str) -> str:
        try:
            limits = ClientTimeout(total=_PATIENCE)
            async with (
                ClientSession(f"http://{self.admin}", timeout=limits) as session,
                session.get("/stats", params={"filter": pattern}) as answer,
            ):
                return await answer.text()
        except (ClientError, TimeoutError) as error:
            raise OSError(f"envoy does not answer: {error}") from error

    def _place(self, backends: Sequence[Backend], routes: Iterable[Object]) -> None:
        """Write both files. Clusters first: a route to an unknown cluster would answer 503 until the other file is read."""
        hosts = virtual_hosts(backends, list(routes), home=self._home)
        config = {"@type": f"{_TYPE}.config.route.v3.RouteConfiguration", "name": "mesh", "virtual_hosts": hosts}
        self._write("cds.json", [_cluster(backend) for backend in backends])
        self._write("rds.json", [config])

    def _write(self, name: str, resources: Sequence[Mapping[str, Any]]) -> None:
        """Replace a file by rename, which Envoy watches for; an unchanged one is left alone."""
        content = json.dumps(resources, sort_keys=True)
        if self._contents.get(name) == content:
            return
        self._contents[name], self._versions[name] = content, str(next(self._serial))
        new = self._folder / f"{name}.new"
        new.write_text(f'{{"version_info": "{self._versions[name]}", "resources": {content}}}')
        new.replace(self._folder / name)

    def _bootstrap(self) -> dict[str, Any]:
        def source(name: str) -> dict[str, Any]:
            return {"resource_api_version": "V3", "path_config_source": {"path": f"{self._folder}/{name}"}}

        listeners = [_listener("mesh", self.port, source("rds.json")), _listener("users", self.users_port, source("rds.json"))]
        return {
            "node": {"id": "sandbox", "cluster": "sandbox"},
            "admin": {"address": _address("127.0.0.1", self.admin_port)},
            "stats_flush_interval": "1s",
            "static_resources": {"listeners": listeners},
            "dynamic_resources": {"cds_config": source("cds.json")},
        }


def _listener(name: str, port: int, routes: dict[str, Any]) -> dict[str, Any]:
    manager = {
        "@type": f"{_TYPE}.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": name,
        "rds": {"route_config_name": "mesh", "config_source": routes},
        "http_filters": [{"name": "router", "typed_config": {"@type": f"{_TYPE}.extensions.filters.http.router.v3.Router"}}],
    }
    filters = [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]
    return {"name": name, "address": _address("127.0.0.1", port), "filter_chains": [{"filters": filters}]}


def _address(host: str, port: int) -> dict[str, Any]:
    return {"socket_address": {"address": host, "port_value": port}}


def _cluster(backend: Backend) -> dict[str, Any]:
    endpoints = [{"endpoint": {"address": _address(host, port)}} for host, port in backend.addresses]
    return {
        "@type": f"{_TYPE}.config.cluster.v3.Cluster",
        "name": backend.cluster,
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": {"cluster_name": backend.cluster, "endpoints": [{"lb_endpoints": endpoints}]},
    }


def virtual_hosts(backends: Sequence[Backend], routes: Sequence[Object], *, home: str) -> list[dict[str, Any]]:
    """One virtual host per Service, by every name that it has inside the cluster; routes replace the plain way in."""
    known = {(backend.namespace, backend.service, backend.port): backend.cluster for backend in backends}
    hosts = []
    for backend in backends:
        route = next((route for route in routes if _is_for(route, backend)), None)
        rules = _rules(route, known) if route else [{"match": {"prefix": "/"}, "route": {"cluster": backend.cluster, "timeout": "0s"}}]
        hosts.append({"name": backend.cluster, "domains": _domains(backend, route, home), "routes": rules})
    return hosts


def _is_for(route: Object, backend: Backend) -> bool:
    if route["metadata"]["namespace"] != backend.namespace:
        return False
    parents = route["spec"].get("parentRefs") or ()
    named = any(parent.get("kind") == "Service" and parent["name"] == backend.service for parent in parents)
    return named or bool(route["metadata"]["name"] == backend.service)


def _domains(backend: Backend, route: Object | None, home: str) -> list[str]:
    name, namespace = backend.service, backend.namespace
    names = [f"{name}.{namespace}", f"{name}.{namespace}.svc", f"{name}.{namespace}.svc.cluster.local"]
    if namespace == home:
        names.append(name)
    hosts = list((route["spec"].get("hostnames") or ()) if route else ())
    port = [f"{one}:{backend.port}" for one in [*names, *hosts]]
    return [*names, *hosts, *port] if backend.port == 80 else [*hosts, *port]


def _rules(route: Object, known: Mapping[tuple[str, str, int], str]) -> list[dict[str, Any]]:
    rules = []
    for rule in route["spec"].get("rules") or ():
        refs = rule.get("backendRefs") or ()
        weighted = []
        for ref in refs:
            cluster = known.get((route["metadata"]["namespace"], ref["name"], ref.get("port", 80)))
            if cluster:
                weighted.append({"name": cluster, "weight": ref.get("weight", 1)})
        if not any(one["weight"] for one in weighted):
            action: dict[str, Any] = {"direct_response": {"status": 503}}
        else:
            action = {"route": {"weighted_clusters": {"clusters": weighted}, "timeout": "0s"}}
        rules += [{"match": _match(one), **action} for one in rule.get("matches") or [{}]]
    return rules


def _match(wanted: Mapping[str, Any]) -> dict[str, Any]:
    path = wanted.get("path") or {"type": "PathPrefix", "value": "/"}
    out: dict[str, Any] = {}
    match path["type"]:
        case "Exact":
            out["path"] = path["value"]
        case "RegularExpression":
            out["safe_regex"] = {"regex": path["value"]}
        case _ if path["value"] == "/":
            out["prefix"] = "/"
        case _:
            out["path_separated_prefix"] = path["value"].rstrip("/")
    headers = [{"name": header["name"], "string_match": _text(header)} for header in wanted.get("headers") or ()]
    params = [{"name": param["name"], "string_match": _text(param)} for param in wanted.get("queryParams") or ()]
    if method := wanted.get("method"):
        headers.append({"name": ":method", "string_match": {"exact": method}})
    return {**out, **({"headers": headers} if headers else {}), **({"query_parameters": params} if params else {})}


def _text(wanted: Mapping[str, Any]) -> dict[str, Any]:
    if wanted.get("type") == "RegularExpression":
        return {"safe_regex": {"regex": wanted["value"]}}
    return {"exact": wanted["value"]}
