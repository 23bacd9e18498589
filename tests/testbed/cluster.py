"""A real Kubernetes control plane for tests: etcd, API server, controller manager, scheduler, and KWOK as every node's kubelet.

Everything that the product does to a cluster happens here for real: admission, RBAC, server-side apply, garbage collection, rolling
updates, EndpointSlices. Only containers do not run; `tests.testbed.mesh` answers in their place. Rejected: kind and k3s (Docker or
root), envtest (no controllers, so no Deployment ever becomes ready).
"""

import json
import os
import secrets
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import yaml

from tests.testbed import controlplane, netns, tools
from tests.testbed.api import Api
from tests.testbed.certificates import Authority
from tests.testbed.controlplane import API_HOST, API_PORT, Keys
from tests.testbed.process import Process, Use, quote_logs, stop_all
from tests.testbed.waiting import until

T = TypeVar("T")
Item = Mapping[str, Any]


class KubectlError(Exception):
    """kubectl ended with an error; the message holds the command and what it wrote."""


class Cluster:
    """One cluster. `start()` takes about six seconds; `stop()` (or leaving the context) kills everything at once.

    The logs of all programs stay in `folder` as NAME.log. Only one cluster can run in a network namespace at a time (fixed ports);
    any number can follow one another. `timings` holds seconds: api, nodes, total.
    """

    def __init__(self, folder: Path, *, nodes: int = 2) -> None:
        self.folder = folder
        self.kubeconfig = folder / "kubeconfig"
        self.timings: dict[str, float] = {}
        self._nodes = nodes
        self._processes: dict[str, Process] = {}
        self._paused = False
        self._keys: Keys | None = None
        self._api: Api | None = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    @property
    def api(self) -> Api:
        """The administrator's requests, without the cost of kubectl."""
        assert self._api is not None, "the cluster was not started"
        return self._api

    @property
    def keys(self) -> Keys:
        """The certificate authority, the administrator's token and the rest."""
        assert self._keys is not None, "the cluster was not started"
        return self._keys

    @property
    def url(self) -> str:
        """The address of the API server."""
        return f"https://{API_HOST}:{API_PORT}"

    def start(self) -> Self:
        """Start all programs and wait until the nodes are ready. On failure everything is stopped and the logs are quoted."""
        if not netns.inside():
            raise RuntimeError("a Cluster needs its own network: call tests.testbed.netns.enter() first (tests: use the marker `cluster`)")
        began = time.monotonic()
        try:
            self._start_store_and_api()
            self.timings["api"] = time.monotonic() - began
            self._start_controllers()
            self.timings["nodes"] = time.monotonic() - began - self.timings["api"]
        except BaseException as error:
            error.add_note(self.log_tails())
            self.stop()
            raise
        self.timings["total"] = time.monotonic() - began
        return self

    def stop(self) -> None:
        """Kill every program (the data are worthless), last started first. The folder and its logs stay."""
        if self._api is not None:
            self._api.close()
        stop_all([*reversed(self._processes.values())], grace=0)
        self._processes.clear()

    def run(self, name: str, command: Sequence[str | Path], *, env: Mapping[str, str] | None = None) -> Process:
        """Start one more program that lives and dies with the cluster, its log beside the others."""
        process = Process(name, command, log=self.folder / f"{name}.log", env=env)
        self._processes[name] = process
        return process

    def process(self, name: str) -> Process:
        """One program, for tests that stop or freeze it (`process("kube-apiserver").signal(SIGSTOP)`)."""
        return self._processes[name]

    def restart(self, name: str) -> Process:
        """Kill a program and start it again with the same command; does not wait for it to be ready."""
        process = self._processes[name]
        process.stop(grace=0)
        return self.run(name, process.command, env=process.env)

    def pause(self) -> None:
        """Let no program of it run until `resume`: one that nobody uses takes a twentieth of a core nevertheless."""
        self._send(signal.SIGSTOP, paused=True)

    def resume(self) -> None:
        """Go on after `pause`."""
        self._send(signal.SIGCONT, paused=False)

    def _send(self, number: int, *, paused: bool) -> None:
        if paused is not self._paused:
            self._paused = paused
            for process in self._processes.values():
                process.signal(number)

    def processes(self) -> dict[str, Use]:
        """CPU and memory of every running program, by its name."""
        return {name: use for name, process in self._processes.items() if (use := process.use()) is not None}

    def log_tails(self, lines: int = 8) -> str:
        """The last lines of every log, for the report of a failed test."""
        return quote_logs(self._processes.values(), lines)

    def kubectl(self, *arguments: str | Path, input: str | None = None, kubeconfig: Path | None = None) -> str:
        """What kubectl writes. With another `kubeconfig` it runs as another user. Raises KubectlError."""
        command = ["--kubeconfig", kubeconfig or self.kubeconfig, "--cache-dir", self.folder / "kubectl-cache", *arguments]
        return self._tool("kubectl", command, text=input)

    def helm(self, *arguments: str | Path, kubeconfig: Path | None = None) -> str:
        """What helm writes, run as the administrator. Raises KubectlError."""
        return self._tool("helm", [*arguments, "--kubeconfig", kubeconfig or self.kubeconfig], text=None)

    def apply(self, objects: str | Item | Iterable[Item], *, manager: str = "testbed", kubeconfig: Path | None = None) -> str:
        """Server-side apply of YAML text, an object, or several; conflicts are forced, `manager` owns the fields."""
        if isinstance(objects, str):
            text = objects
        else:
            items = [objects] if isinstance(objects, Mapping) else list(objects)
            text = json.dumps({"apiVersion": "v1", "kind": "List", "items": items})
        how = ("--server-side", "--force-conflicts", f"--field-manager={manager}")
        return self.kubectl("apply", *how, "-f", "-", input=text, kubeconfig=kubeconfig)

    def get(self, resource: str, name: str, namespace: str | None = None) -> dict[str, Any]:
        """One object, by kubectl's name of its resource (`deployments`, `httpproxies.projectcontour.io`)."""
        where = ["--namespace", namespace] if namespace else []
        found: dict[str, Any] = json.loads(self.kubectl("get", resource, name, *where, "--output=json"))
        return found

    def crds(self, *paths: Path) -> list[str]:
        """Install CustomResourceDefinitions from files or folders and wait until they are served; the names installed."""
        collection = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
        items = list(_definitions(paths))
        for item in items:
            self.api.apply(f"{collection}/{item['metadata']['name']}", item)
        for item in items:
            self.wait(f"CRD {item['metadata']['name']} to be served", partial(self._served, item))
        return [item["metadata"]["name"] for item in items]

    def wait(self, what: str, predicate: Callable[[], T | None], timeout: float = 90.0) -> T:
        """The first truthy value of `predicate`. Raises TimeoutError, or ProcessDiedError as soon as a control plane program is gone."""
        return until(what, predicate, timeout, alarm=self.check)

    def check(self) -> None:
        """Raise ProcessDiedError when a program of the control plane ended by itself."""
        for name in tools.CLUSTER:
            if name in self._processes:
                self._processes[name].check()

    def create_namespace(self, name: str) -> str:
        """A namespace whose default service account exists, so that pods can be made at once."""
        self.api.call("POST", "/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        self.wait(f"service account of namespace {name}", lambda: self.api.get(f"/api/v1/namespaces/{name}/serviceaccounts/default"))
        return name

    def delete_namespace(self, name: str) -> None:
        """Begin to delete it; what it holds goes in the background."""
        self.api.call("DELETE", f"/api/v1/namespaces/{name}")

    def wait_deployment(self, namespace: str, name: str, *, timeout: float = 90.0) -> dict[str, Any]:
        """The Deployment, once its newest template is rolled out and every replica is ready."""
        path = f"/apis/apps/v1/namespaces/{namespace}/deployments/{name}"
        found: dict[str, Any] = self.wait(f"deployment {namespace}/{name} to be ready", lambda: _rolled_out(self.api.get(path)), timeout)
        return found

    def kubeconfig_for_service_account(self, namespace: str, name: str, *, seconds: int = 86_400) -> Path:
        """A kubeconfig with a token of that service account (TokenRequest API), limited by what RBAC gives it."""
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": seconds}}
        answer = self.api.call("POST", f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token", body)
        return self._write_kubeconfig(f"kubeconfig-sa-{namespace}-{name}", {"token": answer["status"]["token"]}, namespace=namespace)

    def kubeconfig_for_user(self, name: str, groups: tuple[str, ...] = ()) -> Path:
        """A kubeconfig with a client certificate of any user; RBAC and API priority see this name and these groups."""
        pair = self.keys.authority.client(name, groups)
        user = {"client-certificate": str(pair.certificate), "client-key": str(pair.key)}
        return self._write_kubeconfig(f"kubeconfig-{pair.certificate.stem}", user)

    def _run_part(self, name: str, command: Sequence[str | Path]) -> None:
        """A program of the control plane."""
        self.run(name, command, env=controlplane.ENVIRONMENT)

    def _start_store_and_api(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._run_part("etcd", controlplane.etcd(self.folder))
        self._keys = keys = self._make_keys()
        self._run_part("kube-apiserver", controlplane.apiserver(keys))
        self._write_kubeconfig(self.kubeconfig.name, {"token": keys.admin_token})
        self._api = Api(host=API_HOST, port=API_PORT, ca=keys.authority.root.certificate, token=keys.admin_token)
        self.wait("the API server", lambda: self.api.text("GET", "/readyz") == "ok", 60)

    def _start_controllers(self) -> None:
        manager = controlplane.controller_manager(self.keys, kubeconfig=self.kubeconfig, folder=self.folder)
        self._run_part("kube-controller-manager", manager)
        self._run_part("kube-scheduler", controlplane.scheduler(kubeconfig=self.kubeconfig, folder=self.folder))
        self._run_part("kwok", controlplane.kwok(kubeconfig=self.kubeconfig))
        for number in range(self._nodes):
            self.api.call("POST", "/api/v1/nodes", controlplane.node(f"node-{number}"))
        self.wait("the nodes", lambda: all(_schedulable(node) for node in self.api.get("/api/v1/nodes")["items"]), 60)
        self.wait("the controllers", lambda: self.api.get("/api/v1/namespaces/default/serviceaccounts/default"), 60)

    def _make_keys(self) -> Keys:
        folder = self.folder / "keys"
        folder.mkdir(exist_ok=True)
        authority = Authority(folder)
        token = secrets.token_hex(16)
        tokens = folder / "tokens.csv"
        tokens.write_text(f'{token},admin,admin,"system:masters"\n', encoding="utf-8")
        serving = authority.server("localhost", "kubernetes.default.svc", "IP:127.0.0.1")
        return Keys(authority=authority, serving=serving, accounts=authority.signing_pair(), tokens=tokens, admin_token=token)

    def _write_kubeconfig(self, file: str, user: dict[str, str], *, namespace: str = "default") -> Path:
        path = self.folder / file
        server = {"server": self.url, "certificate-authority": str(self.keys.authority.root.certificate)}
        content = {
            "apiVersion": "v1", "kind": "Config", "current-context": "test-bed", "users": [{"name": "user", "user": user}],
            "clusters": [{"name": "test-bed", "cluster": server}],
            "contexts": [{"name": "test-bed", "context": {"cluster": "test-bed", "user": "user", "namespace": namespace}}],
        }  # fmt: skip
        path.write_text(json.dumps(content, indent=1), encoding="utf-8")
        path.chmod(0o600)
        return path

    def _served(self, definition: dict[str, Any]) -> bool:
        """Established is not enough: for some 100 ms after it, lists answer 404 or 429 (storage is (re)initializing)."""
        spec = definition["spec"]
        for version in spec["versions"]:
            if version["served"]:
                self.api.get(f"/apis/{spec['group']}/{version['name']}/{spec['names']['plural']}?limit=1")
        return True

    def _tool(self, name: str, arguments: list[str | Path], *, text: str | None) -> str:
        env = {key: value for key, value in os.environ.items() if key != "KUBECONFIG"} | {"HOME": str(self.folder)}
        done = subprocess.run([tools.find(name), *arguments], input=text, text=True, capture_output=True, check=False, env=env)
        if done.returncode:
            shown = " ".join(str(part) for part in arguments if str(part) != str(self.kubeconfig))
            raise KubectlError(f"{name} {shown}: {(done.stderr or done.stdout).strip()[-2000:]}")
        return done.stdout


def _schedulable(node: dict[str, Any]) -> bool:
    ready = any(c["type"] == "Ready" and c["status"] == "True" for c in node["status"].get("conditions", []))
    return ready and not node["spec"].get("taints")


def _rolled_out(deployment: dict[str, Any]) -> dict[str, Any] | None:
    wanted, status = deployment["spec"]["replicas"], deployment.get("status", {})
    settled = status.get("observedGeneration") == deployment["metadata"]["generation"]
    counts = [status.get(field, 0) for field in ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas")]
    return deployment if settled and counts == [wanted] * 4 else None


def _definitions(paths: Iterable[Path]) -> Iterator[dict[str, Any]]:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    for path in paths:
        files = sorted([*path.glob("*.yaml"), *path.glob("*.yml")]) if path.is_dir() else [path]
        if not files:
            raise FileNotFoundError(f"no CRD files in {path}")
        for file in files:
            with file.open("rb") as stream:
                items = yaml.load_all(stream, Loader=loader)
                yield from (item for item in items if item and item.get("kind") == "CustomResourceDefinition")
