"""Port discovery: the container ports that the generated Services expose besides the main one (reference 3.2).

Two upstream faults are not kept: every port was exposed as TCP (Q36), and a port that clashed with another one's name or
number made the API server refuse the whole Service.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from canary.api.service import Service
from canary.core.release import Port

SIDECARS = frozenset({"istio-proxy", "envoy"})


def discovered_ports(service: Service | None, template: Mapping[str, Any]) -> tuple[Port, ...]:
    """Ports of the target's containers without mesh proxies and without the main port; empty unless `portDiscovery`.

    A later port of the same name replaces an earlier one, as upstream. A port without a name is called
    `tcp-<container>-<index>`; so is one named like the Service's main port, which would be refused.
    """
    if service is None or not service.port_discovery:
        return ()
    found: dict[str, Port] = {}
    for name, fallback, number, protocol in _container_ports(template):
        if service.target_port_effective in (number, name):
            continue
        if (number, protocol) == (service.port, "TCP"):  # the main port of the Service has this number already
            continue
        unique = fallback if not name or name == service.port_name_effective else name
        found[unique] = Port(unique, number, protocol)
    first: dict[tuple[int, str], Port] = {}
    for port in found.values():
        first.setdefault((port.port, port.protocol), port)
    return tuple(first.values())


def _container_ports(template: Mapping[str, Any]) -> Iterator[tuple[str, str, int, str]]:
    """(name, name if it has none, number, protocol) of each port."""
    for container in (template.get("spec") or {}).get("containers") or ():
        if container["name"] in SIDECARS:
            continue
        for index, port in enumerate(container.get("ports") or ()):
            protocol = port.get("protocol") or "TCP"
            fallback = f"{protocol.lower()}-{container['name']}-{index}"
            yield port.get("name") or "", fallback, port["containerPort"], protocol
