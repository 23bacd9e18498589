"""A real Envoy as the sandbox's network, configured from Services, Pods and HTTPRoutes.

It is the cluster's DNS and its gateway in one: processes of the sandbox reach `http://podinfo:9898/` by using it as an HTTP proxy
(`http_proxy`), and the Host header finds the Service. An HTTPRoute that is attached to a Service, or names its host, splits by weight.
Configuration is files that Envoy watches (xDS over the file system), replaced by rename: no control plane, changes live in milliseconds.
"""

from __future__ import annotations

import json
import re
import urllib.request
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from canary.kube.resource import Object
from canary.sandbox.processes import Child, free_port, listening

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
    """Start, configure, read counters, stop. `home` is the namespace whose Services resolve by their short names."""

    def __init__(self, binary: Path, folder: Path, *, home: str) -> None:
        self._folder = folder
        self._home = home
        self.port = free_port()
        self.users_port = free_port()
        self.admin_port = free_port()
        self._child = Child(
            "envoy",
            [str(binary), "-c", f"{folder}/envoy.json", "--concurrency", "1", "-l", "warning", "--use-dynamic-base-id"],
            log=folder / "envoy.log",
        )
        self._written: dict[str, str] = {}

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
        return f"127.0.0.1:{self.admin_port}"

    async def start(self) -> None:
        """Returns when the proxy listens."""
        self.configure((), ())
        (self._folder / "envoy.json").write_text(json.dumps(self._bootstrap()))
        await self._child.start()
        await self._child.until(lambda: listening(self.port))

    async def stop(self) -> None:
        await self._child.stop(grace=1.0)

    def configure(self, backends: Sequence[Backend], routes: Iterable[Object]) -> None:
        """Bring clusters and routes in line; unchanged files are left alone."""
        clusters = [_cluster(backend) for backend in backends]
        hosts = virtual_hosts(backends, list(routes), home=self._home)
        # Clusters first: a route that names an unknown cluster would answer 503 until the other file is read.
        self._write("cds.json", {"resources": clusters})
        config = {"@type": f"{_TYPE}.config.route.v3.RouteConfiguration", "name": "mesh", "virtual_hosts": hosts}
        self._write("rds.json", {"resources": [config]})

    def users_requests(self) -> tuple[int, int]:
        """Requests that users have made, and how many of them failed. Blocking.

        Counted at the listener: a cluster's own counters begin anew whenever its endpoints change.
        """
        found = self._counters("^http.users.downstream_rq_(completed|5xx)$")
        return found.get("http.users.downstream_rq_completed", 0), found.get("http.users.downstream_rq_5xx", 0)

    def _counters(self, pattern: str) -> dict[str, int]:
        url = f"http://{self.admin}/stats?usedonly&filter={pattern}"
        with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310 - our own admin port
            lines = answer.read().decode().splitlines()
        found = (re.fullmatch(r"(.+): (\d+)", line) for line in lines)
        return {match[1]: int(match[2]) for match in found if match}

    def _write(self, name: str, content: Mapping[str, Any]) -> None:
        text = json.dumps(content, sort_keys=True)
        if self._written.get(name) == text:
            return
        new = self._folder / f"{name}.new"
        new.write_text(text)
        new.replace(self._folder / name)  # Envoy watches for moves into place
        self._written[name] = text

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
    names += (route["spec"].get("hostnames") or ()) if route else ()
    port = [f"{one}:{backend.port}" for one in names]
    return [*names, *port] if backend.port == 80 else port


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
    headers = [
        {
            "name": header["name"],
            "string_match": {"safe_regex": {"regex": header["value"]}}
            if header.get("type") == "RegularExpression"
            else {"exact": header["value"]},
        }
        for header in wanted.get("headers") or ()
    ]
    return {**out, **({"headers": headers} if headers else {})}
