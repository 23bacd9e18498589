"""Addresses and node ports of Services, given out by the server.

Kept apart from defaulting because it has memory: what is handed out must not be handed out twice. The memory follows the
store (it is kept by a listener), so that nothing can leak.
"""

import ipaddress
from typing import Any, Final

from canary.sandbox.errors import invalid
from canary.sandbox.rules import compact
from canary.sandbox.schema_checks import Violation
from canary.sandbox.store import Bucket, Change

Object = dict[str, Any]
SERVICE_RANGE: Final = ipaddress.ip_network("10.96.0.0/16")
NODE_PORTS: Final = range(30000, 32768)


def carry_allocated(new: Object, old: Object) -> Object:
    """An update that does not repeat the allocated parts keeps them, as long as the service's type still has them."""
    before, after = old["spec"], dict(new["spec"])
    if after.get("type") != "ExternalName" and before.get("type") != "ExternalName":
        for key in ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"):
            if not after.get(key) and before.get(key):
                after[key] = before[key]
    if after.get("type") in ("NodePort", "LoadBalancer"):
        known = {(port.get("port"), port.get("protocol")): port["nodePort"] for port in before.get("ports") or () if port.get("nodePort")}
        after["ports"] = [_with_node_port(port, known.get((port.get("port"), port.get("protocol")))) for port in after.get("ports") or ()]
    return {**new, "spec": after} if after != new["spec"] else new


def _with_node_port(port: Object, number: int | None) -> Object:
    return {**port, "nodePort": number} if number and not port.get("nodePort") else port


class Allocator:
    """Gives out cluster addresses and node ports for the services of one bucket; register `observe` as a listener of the store."""

    def __init__(self, services: Bucket) -> None:
        self._services = services
        self._addresses: dict[str, tuple[str, str]] = {}
        self._ports: dict[int, tuple[str, str]] = {}
        self._last = 9  # low addresses stay free for those that are asked for by name, such as that of the API itself

    def observe(self, bucket: Bucket, change: Change) -> None:
        """Keep the books of what is taken."""
        if bucket is not self._services:
            return
        owner = (change.record.namespace, change.record.name)
        if change.before is not None:
            spec = change.before.obj["spec"]
            self._addresses.pop(spec.get("clusterIP", ""), None)
            for port in spec.get("ports") or ():
                self._ports.pop(port.get("nodePort", 0), None)
        if change.type != "DELETED":
            spec = change.record.obj["spec"]
            if spec.get("clusterIP") not in (None, "", "None"):
                self._addresses[spec["clusterIP"]] = owner
            self._ports.update({port["nodePort"]: owner for port in spec.get("ports") or () if port.get("nodePort")})

    def assign(self, obj: Object) -> Object:
        """The service with everything allocated that its type needs. Raises ApiError 422 for an address that is taken or out of range."""
        spec = dict(obj["spec"])
        if spec.get("type") == "ExternalName":
            for key in ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"):
                spec.pop(key, None)
            return {**obj, "spec": spec}
        owner = (obj["metadata"].get("namespace", ""), obj["metadata"]["name"])
        address = spec.get("clusterIP") or (spec.get("clusterIPs") or [""])[0]
        if not address:
            address = self._free_address()
        elif address != "None":
            self._check_address(address, owner)
        spec["clusterIP"], spec["clusterIPs"] = address, [address]
        spec.setdefault("ipFamilies", ["IPv4"])
        spec.setdefault("ipFamilyPolicy", "SingleStack")
        if spec["type"] == "NodePort" or (spec["type"] == "LoadBalancer" and spec.get("allocateLoadBalancerNodePorts", True)):
            spec["ports"] = self._with_node_ports(spec.get("ports") or [], owner)
        elif any("nodePort" in port for port in spec.get("ports") or ()):
            spec["ports"] = [{key: value for key, value in port.items() if key != "nodePort"} for port in spec["ports"]]
        return {**obj, "spec": spec}

    def _free_address(self) -> str:
        while True:
            self._last = self._last % (SERVICE_RANGE.num_addresses - 2) + 1
            address = str(SERVICE_RANGE[self._last])
            if address not in self._addresses:
                return address

    def _check_address(self, address: str, owner: tuple[str, str]) -> None:
        problem = ""
        try:
            if ipaddress.ip_address(address) not in SERVICE_RANGE:
                problem = "the provided network does not match the current range"
            elif self._addresses.get(address, owner) != owner:
                problem = "provided IP is already allocated"
        except ValueError:
            problem = "must be a valid IP address"
        if problem:
            text = f"Invalid value: {compact([address])}: failed to allocate IP {address}: {problem}"
            raise invalid("", "Service", owner[1], [Violation("spec.clusterIPs", text)])

    def _with_node_ports(self, ports: list[Object], owner: tuple[str, str]) -> list[Object]:
        out: list[Object] = []
        given: set[int] = set()
        for index, port in enumerate(ports):
            number = port.get("nodePort")
            if number and self._ports.get(number, owner) != owner:
                text = f"Invalid value: {number}: provided port is already allocated"
                raise invalid("", "Service", owner[1], [Violation(f"spec.ports[{index}].nodePort", text)])
            number = number or next(one for one in NODE_PORTS if one not in self._ports and one not in given)
            given.add(number)
            out.append({**port, "nodePort": number})
        return out
