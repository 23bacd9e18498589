"""Runs all scripts at once on one cluster with the peer, and writes down what it did.

All scripts side by side take as long as the longest of them. What people do in a script happens between two ticks, in a window that is
late enough for slow answers of the tick before, and early enough for pods to become ready before the next.
"""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from bench.contestants import PORT as PEER_PORT
from bench.contestants import Contestant
from bench.load import STRATEGIC
from bench.traces import objects
from bench.traces.script import Act, Json, Script
from bench.traces.scripted import NAMESPACE, PORT, Journal, Server
from bench.traces.trace import TraceError, trace
from bench.watch import Watch
from tests.testbed.cluster import Cluster
from tests.testbed.mesh import crds_folder
from tests.testbed.process import Process
from tests.testbed.waiting import until

MERGE = "application/merge-patch+json"
WINDOW = (7.3, 9.3)
"""Offsets (see clock) between which people act: after the last word of a tick that waited 5 s, before the next tick may begin."""
MARGIN = 0.3
"""Seconds before the next tick by which it must be done."""
QUIET = 2
"""Ticks that are recorded after the end of a run."""
PATIENCE = 480.0
"""Seconds for a whole recording."""
Say = Callable[[str], None]


def record(contestant: Contestant, scripts: Sequence[Script], folder: Path, *, say: Say) -> list[Json]:
    """The traces of all scripts, in their order; those are left out in which the machine was too slow. Raises TraceError, and what the
    test bed raises."""
    journal = Journal({script.name: script for script in scripts})
    with _ground(contestant, folder, journal) as (cluster, operator):
        runs = [_Run(script, cluster, journal) for script in scripts]
        _create(cluster, scripts, journal)
        say(f"{len(runs)} canaries created")
        began = time.monotonic()
        while open_ := [run for run in runs if not run.done]:
            operator.check()
            cluster.check()
            for run in open_:
                run.step()
            if time.monotonic() - began > PATIENCE:
                raise TraceError(f"not done in {PATIENCE:g} s: {', '.join(run.script.name for run in open_)}")
            time.sleep(0.05)
        say(f"all done after {time.monotonic() - began:.0f} s")
        return list(_traces(runs, journal, say=say))


def _traces(runs: Sequence["_Run"], journal: Journal, *, say: Say) -> Iterator[Json]:
    for run in runs:
        try:
            yield trace(run.script, journal, last=run.last, primary=run.primary())
        except TraceError as error:
            say(f"left out, to be recorded again: {error}")


class _Run:
    """One script under way."""

    def __init__(self, script: Script, cluster: Cluster, journal: Journal) -> None:
        self.script, self.cluster, self.journal = script, cluster, journal
        self.done = False
        self.last = 0
        """The last tick that is recorded whole."""
        self._acts = list(script.acts)
        self._handled = -1
        self._ended_at: int | None = None
        self._healed = False

    def step(self) -> None:
        """Look whether it is time to do something, and do it."""
        rhythm = self.journal.rhythm
        now = time.monotonic()
        if rhythm is None or not WINDOW[0] <= rhythm.offset(now) <= WINDOW[1]:
            return
        number = rhythm.number(now)
        if number == self._handled:
            return
        if self.script.name not in self.journal.released:
            if self._phase() == "Initialized":
                self._patch_target(objects.image("app:2", unready=self.script.unready))
                self.journal.released[self.script.name] = number + 1
                self._in_time(number)
            return
        self._handled = number
        tick = number - self.journal.released[self.script.name]
        self._between(tick)
        self._in_time(number)
        self.last = tick
        self.done = self._over(tick)

    def primary(self) -> str:
        """The image that the primary has in the end."""
        body = self.cluster.api.get(f"{objects.DEPLOYMENTS}/{self.script.name}-primary")
        return str(body["spec"]["template"]["spec"]["containers"][0]["image"])

    def _between(self, tick: int) -> None:
        if any(act.after < tick for act in self._acts):
            raise TraceError(f"{self.script.name}: tick {self._acts[0].after} went by before anybody could act; is the machine busy?")
        for act in [act for act in self._acts if act.after == tick]:
            self._acts.remove(act)
            self._do(act)
        if self._healed:
            self._make_ready()
        elif self.script.unready:
            left = self._left()
            body = self.cluster.api.get(f"{objects.DEPLOYMENTS}/{self.script.name}")
            if objects.stuck(body, self.script.deadline, datetime.now(UTC) + timedelta(seconds=left)):
                self.journal.note(self.script.name, "seen", "stuck")

    def _do(self, act: Act) -> None:
        if act.image:
            self._patch_target(objects.image(act.image, unready=False))
        if act.spec is not None:
            self.cluster.api.call("PATCH", f"{objects.CANARIES}/{self.script.name}", {"spec": act.spec}, content_type=MERGE)
        if act.weight is not None:
            self._move(act.weight)
        self._healed = self._healed or act.ready

    def _move(self, weight: int) -> None:
        path = f"{objects.PROXIES}/{self.script.name}"
        for one in (body := self.cluster.api.get(path))["spec"]["routes"][0]["services"]:
            one["weight"] = weight if one["name"].endswith("-canary") else 100 - weight
        self.cluster.api.call("PUT", path, body)

    def _make_ready(self) -> None:
        """The pods of both copies: promotion copies the annotation, which is part of the template."""
        name = self.script.name
        for pod in self.cluster.api.get(f"{objects.PODS}?labelSelector=app%20in%20({name},{name}-primary)")["items"]:
            if objects.READY in pod["metadata"].get("annotations", {}):
                body = {"metadata": {"annotations": {objects.READY: None}}}
                self.cluster.api.call("PATCH", f"{objects.PODS}/{pod['metadata']['name']}", body, content_type=MERGE)

    def _patch_target(self, body: Json) -> None:
        self.cluster.api.call("PATCH", f"{objects.DEPLOYMENTS}/{self.script.name}", body, content_type=STRATEGIC)

    def _in_time(self, number: int) -> None:
        left = self._left(number + 1)
        if left < MARGIN:
            raise TraceError(
                f"{self.script.name}: what had to be done between two ticks took until {left:.1f} s before the next; is the machine busy?"
            )

    def _left(self, number: int | None = None) -> float:
        """Seconds until a tick (the next one) begins."""
        rhythm, now = self.journal.rhythm, time.monotonic()
        assert rhythm is not None
        return rhythm.begins(rhythm.number(now) + 1 if number is None else number) - now

    def _phase(self) -> str:
        return self.journal.phases.get(self.script.name, "")

    def _over(self, tick: int) -> bool:
        if tick >= self.script.ticks:
            return True
        if self._acts or self._phase() not in {"Succeeded", "Failed"}:
            self._ended_at = None
            return False
        self._ended_at = tick if self._ended_at is None else self._ended_at
        return tick >= self._ended_at + QUIET


def _create(cluster: Cluster, scripts: Sequence[Script], journal: Journal) -> None:
    for name in sorted(set().union(*map(objects.templates_of, scripts))):
        cluster.api.call("POST", objects.TEMPLATES, objects.template(name))

    def one(script: Script) -> None:
        cluster.api.call("POST", objects.DEPLOYMENTS, objects.target(script))
        cluster.api.call("POST", objects.CANARIES, objects.canary(script))

    first, *others = scripts
    one(first)
    # while nothing else is going on: its first word is what all ticks are counted from
    until("the first word of the first canary", lambda: journal.rhythm, 60)
    with ThreadPoolExecutor(8) as pool:
        for _ in pool.map(one, others):
            pass


@contextmanager
def _ground(contestant: Contestant, folder: Path, journal: Journal) -> Iterator[tuple[Cluster, Process]]:
    with Cluster(folder) as cluster:
        cluster.crds(*contestant.crds, crds_folder() / "istio.yaml")
        cluster.create_namespace(NAMESPACE)
        server = Server(journal)
        watches = _watches(cluster, journal)
        command = [*contestant.command, f"-kubeconfig={cluster.kubeconfig}", f"-event-webhook=http://127.0.0.1:{PORT}/events"]
        operator = cluster.run("operator", command)
        try:
            address = f"http://127.0.0.1:{PEER_PORT}/healthz"
            probe = [sys.executable, "-c", f"import urllib.request; urllib.request.urlopen({address!r}, timeout=5)"]
            until("the peer to be ready", lambda: cluster.run("probe", probe).wait(10) == 0, 60, interval=1, alarm=operator.check)
            yield cluster, operator
            if broken := [watch.problem for watch in watches if watch.problem]:
                raise TraceError(f"a watch ended: {broken}")
        finally:
            for watch in watches:
                watch.close()
            server.close()


def _watches(cluster: Cluster, journal: Journal) -> list[Watch]:
    def seen(kind: str, read: Callable[[Json], tuple[object, ...]]) -> Callable[[Json], None]:
        known: dict[str, tuple[object, ...]] = {}

        def take(body: Json) -> None:
            name, now = body["metadata"]["name"], read(body)
            if known.get(name) != now:
                known[name] = now
                journal.note(name, kind, *now)

        return take

    return [
        Watch(cluster, objects.CANARIES, seen("state", objects.state)),
        Watch(cluster, objects.PROXIES, seen("route", objects.proxy_route)),
        Watch(cluster, objects.VIRTUAL_SERVICES, seen("route", objects.virtual_service_route)),
    ]
