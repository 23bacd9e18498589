"""The story on somebody's cluster: the same developer, Git server and operator, but their API server, pods, mesh and Prometheus.

Everything lives in one namespace, which is made for it and deleted afterwards, and in processes of this machine: the operator (unless one is
there already, which then acts), the load tester, the Git server. Names of the cluster, which cannot be resolved here, go through `forward`.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import secrets
import shutil
import signal
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

import yaml

from canary import __version__
from canary.api.crd import KINDS
from canary.core.errors import NotFound, Retryable
from canary.kube import auth
from canary.kube.cache import WatchedCluster
from canary.kube.client import ApiClient
from canary.kube.resource import CANARIES, CANARY_RUNS, DEPLOYMENTS, EVENTS, NAMESPACES, SECRETS, Object, Resource
from canary.sandbox.adapted import adapted
from canary.sandbox.crew import Crew
from canary.sandbox.deployment import PORT
from canary.sandbox.forward import Forwarder, Place, Relay
from canary.sandbox.gitserver import GitServer
from canary.sandbox.gitsync import MANAGER, GitSync
from canary.sandbox.kinds import DEFINITIONS, install
from canary.sandbox.processes import Child, free_port, listening
from canary.sandbox.stage import APP, HOME, Listener, Progress, Traffic
from canary.sandbox.survey import LABEL, Options, Survey
from canary.sandbox.words import overhear
from canary.sandbox.world import SILENCE, proxied, together

TESTER = "load-tester"
"""The Service that the manifest's hook calls."""
_GONE_WITHIN = 120.0
"""Seconds that the namespace may take to go."""
_SECRET = "fleet-git"  # noqa: S105 - a name


class OneCluster:
    """A cluster as a stage (see `canary.sandbox.stage.Stage`). `survey` is of this cluster."""

    def __init__(self, survey: Survey, options: Options, *, git_version: str) -> None:
        self.cast = options.cast
        self.parts: dict[str, str] = {}
        self._survey = survey
        self._options = options
        self._git_version = git_version
        self._tester_port = free_port()
        self._forwarder = Forwarder(self._places())
        self._stack = contextlib.AsyncExitStack()
        self._crew: Crew | None = None
        self._ours: list[Child] = []
        self._impatient = asyncio.Event()
        self._needs_users = False

    @property
    def traffic(self) -> Traffic:
        """Users' requests, counted on their way."""
        return self._forwarder.requests, self._forwarder.failed

    async def start(self, progress: Progress = lambda *_: None) -> None:
        """Bring everything up. Raises CanaryError."""
        survey, options = self._survey, self._options
        self._client = ApiClient(auth.load(kubeconfig=options.kubeconfig, context=options.context))
        self._stack.push_async_callback(self._client.close)
        self.folder = Path(tempfile.mkdtemp(prefix="canary-cluster-"))
        self._stack.callback(shutil.rmtree, self.folder, ignore_errors=True)
        self._crew = Crew(self.folder)
        self._ready(progress, "api", f"kubernetes {survey.version}")
        self._ready(progress, "proxy", f"{options.mesh_provider} at {survey.address}")
        await self._start_git()
        self._ready(progress, "git", f"git {self._git_version}")
        await self._prepare()
        self.cluster = WatchedCluster(self._client, namespace=HOME)
        self._stack.push_async_callback(self.cluster.close)
        await self.cluster.watch(DEPLOYMENTS, CANARIES, CANARY_RUNS, EVENTS)
        self._stack.push_async_callback(self._crew.stop)
        self._stack.push_async_callback(self._dismiss_ours)
        await self._forwarder.start()
        self._stack.push_async_callback(self._forwarder.stop)
        if survey.holder:
            self._ready(progress, "operator", survey.holder)
            return
        self._ready(progress, "metrics", f"prometheus {survey.metrics_version}")
        await together(self._start_tester(progress), self._start_operator(progress))

    async def stop(self) -> None:
        """Stop our processes, then delete what we have made in the cluster, and wait until it is gone."""
        await self._stack.aclose()

    def kill(self) -> None:
        """End our processes now, and do not wait for the cluster."""
        self._impatient.set()
        if self._crew:
            self._crew.kill()

    def clearing(self) -> str:
        """What `stop` does, in words."""
        return f"deleting namespace {HOME}" + (" and the kinds that the demo has installed" if self._survey.missing else "")

    async def deliver(self, files: Mapping[str, str]) -> tuple[str, GitSync]:
        """A repository on the Git server, applied from now on."""
        assert self._crew is not None
        url = await asyncio.to_thread(self.git.create, "fleet", files)
        user, password = self._login
        url = url.replace("://", f"://{user}:{password}@")
        sync = GitSync(url, self.folder, self._client)
        self._crew.spawn(sync.run())
        return url, sync

    def adapt(self, manifest: str) -> Mapping[str, str]:
        """The manifest with what this cluster needs, the sink, and (Contour) a root for the generated HTTPProxy."""
        survey, options = self._survey, self._options
        without = TESTER if survey.holder else ""
        changed = adapted(manifest, options, gateway=survey.gateway, without_hooks_to=without)
        self._needs_users = changed.needs_users
        sink = {
            "apiVersion": "canary.dev/v1alpha1",
            "kind": "GitSink",
            "metadata": {"name": "fleet", "namespace": HOME},
            "spec": {"cluster": "demo", "repository": {"url": f"{self._git_url}/fleet.git", "secretRef": {"name": _SECRET}}},
        }
        return {f"apps/{APP}/canary.yaml": changed.text, "clusters/demo/git-sink.yaml": yaml.safe_dump(sink, sort_keys=False)}

    async def measured(self) -> None:
        """Returns when users reach the first version through the mesh."""
        assert self._crew is not None
        while not 200 <= await self._forwarder.ask(f"http://{APP}:{PORT}/") < 300:  # noqa: ASYNC110 - asked, not told
            await asyncio.sleep(0.2)
        if self._needs_users:
            command = [sys.executable, "-P", "-m", "loadtest.hey", "-z", "60m", "-q", "10", "-c", "2", f"http://{APP}:{PORT}/"]
            child = Child("users", command, log=self.folder / "users.log", env=proxied(self._forwarder.url))
            await self._crew.start(child)

    async def count(self) -> Traffic:
        """The same as `traffic`: nothing is asked."""
        return self.traffic

    def listen(self, listener: Listener) -> None:
        """Hear our operator's log, or else the Events of the one that is there."""
        assert self._crew is not None
        if not self._survey.holder:
            self._crew.spawn(overhear(self.folder / "operator.log", f"{APP}.{HOME}", listener))
            return

        def on_event(resource: Resource, kind: str, body: Object, _: Object | None) -> None:
            if resource == EVENTS and kind != "DELETED" and body.get("involvedObject", {}).get("kind") == "Canary":
                listener(str(body.get("type")), str(body.get("message")))

        self.cluster.on_change(on_event)

    async def trouble(self) -> None:
        """Raises when a process or a task of ours has ended by itself."""
        assert self._crew is not None
        await self._crew.trouble()

    def _ready(self, progress: Progress, part: str, version: str) -> None:
        self.parts[part] = version
        progress(part, version)

    def _places(self) -> dict[str, Place]:
        app = Place(self._survey.address, host=self._options.host, counted=True)
        names = [APP, f"{APP}.{HOME}", f"{APP}.{HOME}.svc", f"{APP}.{HOME}.svc.cluster.local", self._options.host]
        tester = Place(f"http://127.0.0.1:{self._tester_port}")
        return {**dict.fromkeys(names, app), **dict.fromkeys([f"{TESTER}.{HOME}", f"{TESTER}.{HOME}.svc", TESTER], tester)}

    async def _start_git(self) -> None:
        """With a password: the repository may be reachable from the network."""
        self._login = ("demo", secrets.token_urlsafe(16))
        self.git = GitServer(self.folder / "git", user=self._login)
        self.git.start()
        self._stack.push_async_callback(asyncio.to_thread, self.git.stop)
        self._git_url = self.git.url
        if host := self._options.git_host:
            relay = Relay(host, urlsplit(self.git.url).port or 0)
            await relay.start()
            self._stack.push_async_callback(relay.stop)
            self._git_url = f"http://{host}:{relay.port}"

    async def _prepare(self) -> None:
        """Kinds, namespace and Secret. How each is taken back is noted before it is asked for: a Ctrl-C may come in between."""
        if self._survey.leftover:
            await self._delete(NAMESPACES, HOME)
        if self._survey.missing:
            self._stack.push_async_callback(self._remove_kinds)
            await install(self._client, self._survey.missing)
        body: Object = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": HOME, "labels": {LABEL: "true"}}}
        self._stack.push_async_callback(self._remove_namespace)
        await self._client.create(NAMESPACES, body)
        user, password = (base64.b64encode(text.encode()).decode() for text in self._login)
        body = {**SECRETS.head(HOME, _SECRET), "data": {"username": user, "password": password}}
        await self._client.apply(SECRETS, body, manager=MANAGER)

    async def _start_tester(self, progress: Progress) -> None:
        command = ["-m", "loadtest", f"--port={self._tester_port}", "--host=127.0.0.1", "--log-level=info"]
        await self._program("load tester", command, port=self._tester_port)
        self._ready(progress, "load", f"loadtest {__version__}")

    async def _start_operator(self, progress: Progress) -> None:
        port, options = free_port(), self._options
        flags = {
            "kubeconfig": options.kubeconfig,
            "context": options.context,
            "namespace": HOME,
            "mesh-provider": options.mesh_provider,
            "metrics-server": options.metrics_url,
            "cluster-name": "demo",
            "host": "127.0.0.1",
            "port": port,
        }
        command = ["-m", "canary.cli.main", "run", *(f"--{name}={value}" for name, value in flags.items())]
        await self._program("operator", command, port=port)
        self._ready(progress, "operator", __version__)

    async def _program(self, name: str, command: list[str], *, port: int) -> None:
        """One of our own programs, for which names of the cluster lead where they should."""
        assert self._crew is not None
        hosts = (urlsplit(url).hostname or "" for url in (self._client.server, self._options.metrics_url))
        env = {"TMPDIR": str(self.folder), **proxied(self._forwarder.url, directly=",".join(hosts)), **SILENCE}
        log = self.folder / f"{name.replace(' ', '-')}.log"
        child = Child(name, [sys.executable, "-P", *command], log=log, env=env, orphaned=signal.SIGTERM)
        self._ours.append(child)
        await self._crew.start(child, ready=lambda: listening(port))

    async def _dismiss_ours(self) -> None:
        assert self._crew is not None
        await self._crew.dismiss(*self._ours)

    async def _remove_namespace(self) -> None:
        """Only the one that carries our label: somebody may have been quicker than we."""
        with contextlib.suppress(NotFound):
            found = await self._client.get(NAMESPACES, "", HOME)
            if (found["metadata"].get("labels") or {}).get(LABEL) == "true":
                await self._delete(NAMESPACES, HOME)

    async def _remove_kinds(self) -> None:
        """Those that we have installed, while nobody else has objects of them."""
        for kind in KINDS:
            if kind.crd_name in self._survey.missing:
                resource = Resource(kind.group, next(iter(kind.columns)), kind.plural, kind.model.__name__)
                with contextlib.suppress(NotFound):
                    if not await self._client.list(resource, limit=1):
                        await self._delete(DEFINITIONS, kind.crd_name)

    async def _delete(self, resource: Resource, name: str) -> None:
        """Delete and wait until it is gone. Raises Retryable when it does not go."""
        try:
            await self._client.delete(resource, "", name)
            async with asyncio.timeout(_GONE_WITHIN):
                while not self._impatient.is_set():
                    await self._client.get(resource, "", name)
                    await asyncio.sleep(0.2)
        except NotFound:
            return
        except TimeoutError:
            hint = f"look with `kubectl get namespace {name} -o yaml` what holds it"
            raise Retryable(f"{resource.kind} {name} is not gone {_GONE_WITHIN:g} s after it was deleted", hint=hint) from None
