"""One application in one namespace: released by an operator, reached through a mesh, and watched from all sides."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.e2e import objects
from tests.e2e.loadtester import LoadTester
from tests.e2e.objects import Item, collection
from tests.e2e.operators import Operator
from tests.e2e.watch import Watch
from tests.testbed.cluster import Cluster
from tests.testbed.mesh import Mesh
from tests.testbed.traffic import Answer, Ask, Tally, Traffic, assert_split, burst
from tests.testbed.waiting import until
from tests.testbed.workload import deployment, root_proxy

SETTLE = 1.0
"""Seconds that Contour and Envoy may take to follow an object on a busy machine."""


@dataclass(frozen=True)
class Parts:
    """What several stages share. `operator` and `load_tester` are None where a test brings its own; `folder` is for its files."""

    cluster: Cluster
    mesh: Mesh
    operator: Any
    load_tester: Any
    folder: Path


@dataclass(frozen=True)
class Span:
    """Seconds of `time.monotonic()` during which the routes said `weight`."""

    weight: int
    since: float
    until: float


class Stage:
    """The application `app` in one namespace. Everything that is waited for fails early when a program of the test bed dies."""

    def __init__(self, parts: Parts, namespace: str, name: str = "app", *, apex: str = "") -> None:
        self.cluster, self.mesh = parts.cluster, parts.mesh
        self.operator: Operator = parts.operator
        self.load_tester: LoadTester = parts.load_tester
        self._parts = parts
        self._others: list[Stage] = []
        self.namespace = namespace
        self.name = name
        self.apex = apex or name
        self.host = f"{name}.{namespace}.test"
        self._watches: dict[tuple[str, str], Watch] = {}
        self._run_before = ""
        self.mark = 0.0
        for plural, watched in (("canaries", self.name), ("httpproxies", self.apex), ("httproutes", self.apex)):
            self.watch(plural, watched)

    def called(self, name: str, *, apex: str = "") -> "Stage":
        """Another application in the same namespace, closed with this one."""
        other = Stage(self._parts, self.namespace, name, apex=apex)
        self._others.append(other)
        return other

    @property
    def folder(self) -> Path:
        """An empty directory for this namespace's files, made on demand."""
        folder = self._parts.folder / self.namespace
        folder.mkdir(exist_ok=True)
        return folder

    def close(self) -> None:
        """End all watches."""
        for other in self._others:
            other.close()
        for watch in self._watches.values():
            watch.stop()
        self.cluster.api.close()  # this thread's connection

    # ------------------------------------------------------------------------------------------------ what users do

    def apply(self, *items: Item) -> None:
        """Server-side apply, as a GitOps engine does."""
        for item in items:
            plural = objects.PLURALS[item["kind"]]
            path = collection(plural, item["metadata"].get("namespace") or self.namespace)
            self.cluster.api.apply(f"{path}/{item['metadata']['name']}", item)

    def patch(self, plural: str, name: str, patch: Item, *, manager: str = "kubectl-edit") -> Item:
        """JSON merge patch, as `kubectl edit` by a person."""
        path = f"{collection(plural, self.namespace)}/{name}?fieldManager={manager}"
        changed: Item = self.cluster.api.call("PATCH", path, patch, content_type="application/merge-patch+json")
        return changed

    def delete(self, plural: str, name: str) -> None:
        """DELETE; what it owns goes in the background."""
        self.cluster.api.call("DELETE", f"{collection(plural, self.namespace)}/{name}?propagationPolicy=Background")

    def deploy(self, image: str = "app:1", *, deadline: int = 600, **how: Any) -> None:
        """Apply the Deployment: with replicas only the first time, so that scaling stays the operator's. `deadline`: of its rollouts, in seconds."""
        body = deployment(self.name, namespace=self.namespace, image=image, **how)
        body["spec"]["progressDeadlineSeconds"] = deadline
        if self.exists("deployments", self.name):
            del body["spec"]["replicas"]
        self.change(body)

    def change(self, *items: Item) -> None:
        """Apply something that is to start a run; `wait_end` then waits for the end of that run."""
        self._run_before = (self.status.get("run") or {}).get("id", "")
        self.mark = time.monotonic()
        self.apply(*items)

    def bootstrap(
        self, analysis: Item, *, image: str = "app:1", service: Item | None = None, how: Mapping[str, Any] | None = None, **spec: Any
    ) -> None:
        """Deploy (`how`), create the Canary, and wait until it is initialized."""
        self.deploy(image, **(how or {}))
        self.apply(objects.canary(self.name, self.namespace, analysis, service=service, **spec))
        self.wait_phase("Initialized")

    def expose_by_contour(self) -> None:
        """A root HTTPProxy that includes the canary's, and requests that come through."""
        self.apply(root_proxy(f"root-{self.name}", namespace=self.namespace, host=self.host, include=self.apex))
        self.mesh.wait_host(self.host)

    def name_services(self, *services: str) -> None:
        """Make Services reachable by `<service>.<namespace>`, which is how load tests and smoke tests name them."""
        self.apply(*(objects.service_at(f"{one}.{self.namespace}", namespace=self.namespace, service=one) for one in services))

    # ------------------------------------------------------------------------------------------------ what clients see

    def ask(self, path: str = "/", *, host: str = "", **more: Any) -> Ask:
        """A request to the application."""
        return Ask(url=Mesh.gateway_url, host=host or self.host, path=path, **more)

    def traffic(self, *, rate: float = 50.0, path: str = "/", **more: Any) -> Traffic:
        """Constant load on the application."""
        options = {key: more.pop(key) for key in ("users", "keep_cookies") if key in more}
        return Traffic(self.ask(path, **more), rate=rate, **options)

    def burst(self, count: int, **more: Any) -> list[Answer]:
        """Requests at once."""
        return burst(self.ask(**more), count)

    def between(self, traffic: Traffic, span: Span) -> Tally:
        """What clients saw in a span."""
        began = time.monotonic() - traffic.now
        return traffic.tally(span.since - began, span.until - began)

    def assert_clients_saw(
        self, traffic: Traffic, weights: Sequence[int], *, old: str = "app:1", new: str = "app:2", plural: str = "httpproxies"
    ) -> None:
        """The routes went through exactly these weights, and at each of them clients met the versions in these shares."""
        spans = self.spans(plural)
        assert [span.weight for span in spans] == list(weights), spans
        for span in spans:
            tally = self.between(traffic, Span(span.weight, span.since + SETTLE, span.until))
            answered = tally.images + _failures_by_image(tally)
            try:
                assert_split(answered, {old: 1 - span.weight / 100, new: span.weight / 100})
            except AssertionError as error:
                error.add_note(f"at weight {span.weight}, {span.until - span.since:.1f} s")
                raise

    # ------------------------------------------------------------------------------------------------ what objects say

    def watch(self, plural: str, name: str) -> Watch:
        """A watch of one object, which runs until the stage is closed."""
        if (plural, name) not in self._watches:
            self._watches[plural, name] = Watch(self.cluster, collection(plural, self.namespace), name).start()
        return self._watches[plural, name]

    @property
    def canary(self) -> Watch:
        """The Canary over time."""
        return self.watch("canaries", self.name)

    def routes(self, plural: str = "httpproxies") -> Watch:
        """The traffic object over time."""
        return self.watch(plural, self.apex)

    def get(self, plural: str, name: str) -> Item:
        """One object as it is now."""
        found: Item = self.cluster.api.get(f"{collection(plural, self.namespace)}/{name}")
        return found

    def exists(self, plural: str, name: str) -> bool:
        """Whether there is such an object."""
        found = self.cluster.api.get(f"{collection(plural, self.namespace)}?fieldSelector=metadata.name%3D{name}")["items"]
        return bool(found)

    def items(self, plural: str) -> list[Item]:
        """All objects of a kind in the namespace."""
        found: list[Item] = self.cluster.api.get(collection(plural, self.namespace))["items"]
        return found

    @property
    def status(self) -> Item:
        """The Canary's status as it is now."""
        return (self.canary.latest or {}).get("status") or {}

    @property
    def phase(self) -> str:
        """The Canary's phase as it is now."""
        return str(self.status.get("phase", ""))

    def condition(self, kind: str) -> Item:
        """A condition of the Canary; empty when it has none of this type."""
        return next((one for one in self.status.get("conditions") or () if one["type"] == kind), {})

    def image_of(self, workload: str) -> str:
        """The image in a Deployment's template."""
        return str(self.get("deployments", workload)["spec"]["template"]["spec"]["containers"][0]["image"])

    def replicas(self, workload: str) -> int:
        """`spec.replicas` of a Deployment."""
        return int(self.get("deployments", workload)["spec"]["replicas"])

    def phases(self) -> list[str]:
        """The phases since the last `deploy` or `change`."""
        return [phase for _, phase in self.canary.history(_phase, since=self.mark) if phase]

    def moment(self, phase: str) -> float:
        """When the canary came into a phase, since the last `deploy` or `change`; `time.monotonic()`."""
        found: float = next(at for at, one in self.canary.history(_phase, since=self.mark) if one == phase)
        return found

    def moves(self, plural: str = "httpproxies") -> list[tuple[float, int]]:
        """When the routes gave the canary which weight, since the last `deploy` or `change`."""
        return self.routes(plural).history(lambda item: weight_of(item, f"{self.apex}-canary"), since=self.mark)

    def spans(self, plural: str = "httpproxies") -> list[Span]:
        """The weights of the canary that the routes had while it was analysed, since the last `deploy` or `change`."""
        moves = self.moves(plural)
        ends = [
            at for at, phase in self.canary.history(_phase, since=self.mark) if phase in {"Promoting", "Finalising", "Succeeded", "Failed"}
        ]
        end = min(ends, default=time.monotonic())
        times = [*(at for at, _ in moves[1:]), end][: len(moves)]
        spans = [Span(weight, at, min(after, end)) for (at, weight), after in zip(moves, times, strict=True) if weight and at < end]
        return spans

    def weights(self, plural: str = "httpproxies") -> list[int]:
        """The weights of `spans`."""
        return [span.weight for span in self.spans(plural)]

    def events(self, name: str = "") -> list[Item]:
        """Events on the canary (or another object), oldest first."""
        mine = [event for event in self.items("events") if event["involvedObject"]["name"] == (name or self.name)]
        return sorted(mine, key=lambda event: int(event["metadata"]["resourceVersion"]))

    def messages(self) -> list[str]:
        """Texts of the Canary's events."""
        return [event["message"] for event in self.events() if event["involvedObject"]["kind"] == "Canary"]

    # ------------------------------------------------------------------------------------------------ waiting

    def wait(
        self, what: str, predicate: Callable[[], Any], timeout: float = 150.0, *, never: Sequence[str] = (), interval: float = 0.1
    ) -> Any:
        """The first truthy value. Fails at once when the canary comes into one of the phases `never`.

        Timeouts here are long, since they only tell what never comes; how soon something comes is asserted from what watches have seen.
        `interval` (seconds) is longer for what asks the API server: a house of eight tests that do so costs it more than their operator.
        """

        def alarm() -> None:
            self.cluster.check()
            if self.phase in never and self._is_new_run():
                raise AssertionError(f"phase {self.phase} while waiting for {what}: {self.status.get('failureReason')}")

        return until(f"{what} in {self.namespace}", predicate, timeout, interval=interval, alarm=alarm)

    def wait_phase(self, *phases: str, timeout: float = 150.0, never: Sequence[str] = ()) -> None:
        """Until the canary is, or since the last change has been, in one of these phases."""
        self.wait(f"phase {' or '.join(phases)}", lambda: set(phases) & set(self.phases()), timeout, never=never)

    def wait_now(self, phase: str, timeout: float = 150.0) -> None:
        """Until the canary is in this phase."""
        self.wait(f"phase {phase}", lambda: self.phase == phase, timeout)

    def wait_end(self, outcome: str, timeout: float = 240.0) -> Item:
        """The status at the end of the run that the last change began; the outcome must be this one."""
        self.wait("the end of the run", lambda: self._is_new_run() and self.phase in {"Succeeded", "Failed"}, timeout)
        status = self.status
        assert status["phase"] == outcome, f"{status['phase']}: {status.get('failureReason')}; {json.dumps(status.get('checks'))}"
        return status

    def wait_weight(self, weight: int, timeout: float = 150.0) -> None:
        """Until the status says so, and Envoy has had the time to follow."""
        self.wait(f"weight {weight}", lambda: self.status.get("canaryWeight") == weight, timeout, never=["Failed"])
        time.sleep(SETTLE)

    def wait_image(self, workload: str, image: str, timeout: float = 150.0) -> None:
        """Until a Deployment's template has this image."""
        self.wait(f"{workload} with {image}", lambda: self.image_of(workload) == image, timeout, interval=0.25)

    def wait_message(self, *parts: str, timeout: float = 90.0) -> str:
        """The first event on the canary whose text has all of these parts."""

        def found() -> str:
            return next((message for message in self.messages() if all(part in message for part in parts)), "")

        return str(self.wait(f"an event with {parts}", found, timeout, interval=0.25))

    def _is_new_run(self) -> bool:
        return (self.status.get("run") or {}).get("id", "") != self._run_before


def weight_of(route: Item, service: str) -> int:
    """The share of a Service in the first route (HTTPProxy) or the last rule (HTTPRoute) that names it."""
    spec = route["spec"]
    groups = [route["services"] for route in spec.get("routes") or ()] or [
        rule["backendRefs"] for rule in reversed(spec.get("rules") or ())
    ]
    for group in groups:
        for one in group:
            if one["name"] == service:
                return int(one.get("weight", 0))
    return 0


def _phase(item: Item) -> str:
    return str((item.get("status") or {}).get("phase", ""))


def _failures_by_image(tally: Tally) -> Any:
    """Answers with an error status count too: who answered is what a split is about."""
    found = type(tally.images)()
    for reason, count in tally.failures.items():
        _, _, image = reason.partition(" from ")
        if image:
            found[image] += count
    return found


@contextmanager
def staged(parts: Parts, namespace: str, **more: Any):
    """A stage, closed at the end."""
    stage = Stage(parts, namespace, **more)
    try:
        yield stage
    finally:
        stage.close()
