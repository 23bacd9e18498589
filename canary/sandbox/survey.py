"""What a cluster has before the story begins: looked at first, so that one clear sentence comes before anything is changed.

Nothing is written here. The plan that comes out is shown to the person whose cluster it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from aiohttp import ClientError, ClientSession, ClientTimeout

from canary.core.errors import Forbidden, NotFound, Rejected, Retryable
from canary.kube.client import ApiClient
from canary.kube.resource import DEPLOYMENTS, LEASES, NAMESPACES, Object, Resource
from canary.sandbox.kinds import compare
from canary.sandbox.stage import HOME, Cast

MESHES = ("gatewayapi:v1", "contour", "istio")
"""Providers that the story can be told with: it is about weights."""
LABEL = "canary.dev/demo"
"""Marks the namespace as ours, to be deleted."""
GATEWAYS = Resource("gateway.networking.k8s.io", "v1", "gateways", "Gateway")
_LEASE = "flagger-leader-election"
_PATIENCE = ClientTimeout(total=10)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the person says about the cluster. `gateway` is NAMESPACE/NAME, `address` the URL of the mesh as seen from here."""

    kubeconfig: str = ""
    context: str = ""
    mesh_provider: str = MESHES[0]
    metrics_server: str = ""
    gateway: str = ""
    host: str = "podinfo.example"
    address: str = ""
    git_host: str = ""
    cast: Cast

    @property
    def metrics_url(self) -> str:
        """The Prometheus of an operator that runs here."""
        return self.metrics_server or "http://127.0.0.1:9090"


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """What was found. `holder`: who operates already (empty: nobody); `missing`: our kinds that must be installed."""

    server: str
    version: str
    metrics_version: str = ""
    holder: str = ""
    missing: tuple[str, ...] = ()
    leftover: bool = False
    address: str
    gateway: str = ""

    def intentions(self) -> Iterator[str]:
        """What the demo is going to do to this cluster, a sentence each."""
        if self.missing:
            yield f"install {len(self.missing)} CustomResourceDefinitions ({', '.join(self.missing)}), and delete them afterwards"
        if self.leftover:
            yield f"delete namespace {HOME}, which an earlier demo has left behind"
        yield f"create namespace {HOME}, release two versions of podinfo in it, and delete it afterwards"
        yield f"let the operator that is there act ({self.holder})" if self.holder else "run an operator here, for that namespace only"


async def survey(client: ApiClient, options: Options) -> Survey:
    """Look. Raises CanaryError for whatever makes the story impossible."""
    version = await client.version()
    leftover, missing, holder = await _leftover(client), await _missing(client), await _holder(client)
    gateway, address = await _way_in(client, options)
    return Survey(
        server=client.server,
        version=version,
        metrics_version="" if holder else await _metrics(options.metrics_url),
        holder=holder,
        missing=missing,
        leftover=leftover,
        address=address,
        gateway=gateway,
    )


async def _leftover(client: ApiClient) -> bool:
    """Whether the namespace is there, from an earlier demo. Raises Rejected when it is somebody else's."""
    try:
        found = await client.get(NAMESPACES, "", HOME)
    except NotFound:
        return False
    if (found["metadata"].get("labels") or {}).get(LABEL) != "true":
        raise Rejected(
            f"namespace {HOME} exists in this cluster, and the demo has not made it (it lacks the label {LABEL}=true)",
            hint="use another cluster: the demo deletes the namespace when it is over",
        )
    return True


async def _missing(client: ApiClient) -> tuple[str, ...]:
    found = await compare(client)
    for name, problem in found.items():
        if problem.startswith("outdated"):
            raise Rejected(
                f"CustomResourceDefinition {name} is not this version's ({problem})",
                hint="bring it up to date with `canary crds | kubectl apply --server-side -f -`, or use another cluster",
            )
    return tuple(name for name, problem in found.items() if problem)


async def _holder(client: ApiClient) -> str:
    """Who operates already: a fresh lease, or a Deployment. Raises Rejected for Flagger, which writes nothing to Git."""
    for deployment in await _all(client, DEPLOYMENTS):
        found = _operates(deployment)
        where = f"{deployment['metadata']['namespace']}/{deployment['metadata']['name']}"
        if found == "flagger":
            raise Rejected(
                f"Flagger runs in {where}, and would act on the demo's Canary", hint="scale it to 0 first, or use another cluster"
            )
        if found:
            return f"Deployment {where}"
    for lease in await _all(client, LEASES):
        if lease["metadata"]["name"] == _LEASE and _held(lease, datetime.now(UTC)):
            return f"{lease['spec']['holderIdentity']}, which holds lease {lease['metadata']['namespace']}/{_LEASE}"
    return ""


def _operates(deployment: Object) -> str:
    """`canary` or `flagger` when this Deployment is a running operator that watches the story's namespace."""
    if not (deployment.get("status") or {}).get("availableReplicas"):
        return ""
    for container in deployment["spec"]["template"]["spec"]["containers"]:
        image = str(container["image"])
        name = image.rpartition("@")[0] or image
        name = name.rpartition("/")[2].partition(":")[0]
        flags = [arg.lstrip("-") for arg in container.get("args") or ()]
        scope = next((flag.partition("=")[2] for flag in flags if flag.startswith("namespace=")), "")
        if name in {"flagger", "canary-operator"} and scope in {"", HOME}:
            return name.removesuffix("-operator")
    return ""


def _held(lease: Object, now: datetime) -> bool:
    """Whether somebody has renewed this lease lately, allowing for clocks that differ."""
    spec: Mapping[str, object] = lease.get("spec") or {}
    try:
        renewed = datetime.fromisoformat(str(spec["renewTime"]))
        seconds = float(str(spec.get("leaseDurationSeconds") or 15))
    except (KeyError, ValueError):
        return False
    return bool(spec.get("holderIdentity")) and now - renewed < timedelta(seconds=2 * seconds)


async def _all(client: ApiClient, resource: Resource) -> list[Object]:
    """All of a kind, or of the story's namespace alone when more is not allowed."""
    try:
        return await client.list(resource)
    except Forbidden:
        return await client.list(resource, HOME)


async def _way_in(client: ApiClient, options: Options) -> tuple[str, str]:
    """The Gateway to use, if any, and the URL at which users reach the mesh."""
    if options.mesh_provider != MESHES[0]:
        if not options.address:
            raise Rejected("where the mesh listens is not known", hint="pass --address http://HOST:PORT, as it is reached from here")
        return options.gateway, options.address
    gateway = await _gateway(client, options.gateway)
    name = f"{gateway['metadata']['namespace']}/{gateway['metadata']['name']}"
    address = options.address or _address(gateway)
    if not address:
        raise Rejected(f"Gateway {name} says no address", hint="pass --address http://HOST:PORT, as it is reached from here")
    return name, address


async def _gateway(client: ApiClient, wanted: str) -> Object:
    if wanted:
        namespace, slash, name = wanted.partition("/")
        if not (slash and namespace and name):
            raise Rejected(f"--gateway {wanted!r} is not NAMESPACE/NAME")
        return await client.get(GATEWAYS, namespace, name)
    try:
        found = await client.list(GATEWAYS)
    except NotFound as error:
        raise NotFound("this cluster has no Gateway API", hint=f"pass --mesh-provider, one of {', '.join(MESHES)}") from error
    if len(found) != 1:
        names = ", ".join(f"{one['metadata']['namespace']}/{one['metadata']['name']}" for one in found)
        raise Rejected(
            f"this cluster has {len(found) or 'no'} Gateways{': ' if names else ''}{names}", hint="name one with --gateway NAMESPACE/NAME"
        )
    return found[0]


def _address(gateway: Object) -> str:
    """The URL of a Gateway's first HTTP listener, by what its status says."""
    addresses = (gateway.get("status") or {}).get("addresses") or ()
    listeners = [one for one in gateway["spec"].get("listeners") or () if one.get("protocol") == "HTTP"]
    return f"http://{addresses[0]['value']}:{listeners[0]['port']}" if addresses and listeners else ""


async def _metrics(url: str) -> str:
    """The version of the Prometheus at this address. Raises Retryable when there is none."""
    try:
        async with ClientSession(timeout=_PATIENCE) as session, session.get(f"{url.rstrip('/')}/api/v1/status/buildinfo") as answer:
            return str((await answer.json())["data"]["version"])
    except (ClientError, TimeoutError, ValueError, KeyError, TypeError) as error:
        raise Retryable(
            f"no Prometheus answers at {url}: {error}",
            hint="pass --metrics-server URL, as it is reached from here (kubectl port-forward helps)",
        ) from error
