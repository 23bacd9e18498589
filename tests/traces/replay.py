"""A recorded run, decided by our rules: the same manifest, the same answers, the same acts of people, tick by tick.

One tick of the peer is one of ours, with the ticks that follow it at once to carry out what it decided (documented: promotion and rollback
are stored first, then done). The pace is a parameter: `peer` ticks once an interval, as the peer does; `own` ticks when our rules ask to be
woken. Both must decide the same, or our quicker reaction would change what is decided.
"""

from __future__ import annotations

import enum
import json
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from bench.traces.script import GOOD, answer_at
from canary.api.status import Phase
from canary.core.model import Answer, Ask, Decision, HookAsk, HookResult, MetricAsk, Routes, Sample
from tests.core.simulate import World, rev

FILE = Path(__file__).with_name("flagger-1.44.0.json")
INTERVAL = 10.0
MISSING = "absent"
"""The template that does not exist: nothing can be asked."""


class Pace(enum.Enum):
    """Who says when the next tick is."""

    PEER = "peer"
    OWN = "own"


@dataclass
class Tick:
    """What happened in one tick. `state` and `route` are those at its end; `phases` all that were stored in it, repeats dropped."""

    calls: list[list[str]] = field(default_factory=list)
    state: tuple[str, int, int, int] = ("", 0, 0, 0)
    route: tuple[int, bool] = (0, False)
    phases: list[str] = field(default_factory=list)
    events: list[Any] = field(default_factory=list)


@cache
def recorded() -> dict[str, Any]:
    """The file of traces."""
    found: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
    return found


def runs() -> list[dict[str, Any]]:
    """All recorded runs."""
    return list(recorded()["runs"])


def theirs(run: dict[str, Any]) -> list[Tick]:
    """What the peer did, from tick 0 on; quiet ticks repeat the state before."""
    by_number = {tick["tick"]: tick for tick in run["ticks"]}
    state, route = tuple(run["before"]), (0, False)
    found = []
    for number in range(run["last"] + 1):
        tick = by_number.get(number, {})
        states = [tuple(one) for one in tick.get("states", ())]
        phases = [state[0]]
        for one in states:
            phases += [one[0]] if one[0] != phases[-1] else []
            state = one
        # a hand that moves traffic after the tick is seen by the next one
        moved = any(act["after"] == number and "weight" in act for act in run.get("acts", ()))
        routes = [tuple(one) for one in tick.get("routes", ())]
        route = [route, *routes][-2 if moved else -1]
        found.append(Tick(tick.get("calls", []), state, route, phases[1:], tick.get("events", [])))
        route = [route, *routes][-1]
    return found


def ours(run: dict[str, Any], pace: Pace) -> tuple[list[Tick], Replay]:
    """What our rules decide at each of the peer's ticks, and the world afterwards."""
    world = Replay(run, pace)
    return [world.next(number) for number in range(run["last"] + 1)], world


class Replay(World):
    """The simulated cluster of the rules' own tests, with the script of a recorded run."""

    def __init__(self, run: dict[str, Any], pace: Pace) -> None:
        analysis = dict(run["analysis"])
        if "webhooks" in analysis:
            analysis["webhooks"] = [hook | {"url": "http://scripted/"} for hook in analysis["webhooks"]]
        super().__init__(analysis, dict(run.get("spec", {})), run["provider"], can_mirror=run["provider"] == "istio")
        self.script, self.pace = run, pace
        self.number = -1
        self.heard: list[list[str]] = []
        self.bootstrap()
        self.release("app:2")
        if run.get("unready"):
            self.broken.add(rev("app:2"))

    def answer(self, ask: Ask) -> Answer:
        match ask:
            case HookAsk(index=index, phase=phase):
                name = self.canary.spec.analysis.webhooks[index].name
                self.heard.append(["hook", name, phase.value])
                return _hook(self._says(name))
            case MetricAsk(index=index):
                name = self.canary.spec.analysis.metrics[index].name
                if name == MISSING:
                    return Sample(error="no such template")
                self.heard.append(["metric", name])
                said = self._says(name)
                return _sample(GOOD.get(name, 0.0) if said is None else said, query=f"q({name})")
            case _:
                return super().answer(ask)

    def _says(self, name: str) -> float | str | None:
        return answer_at(self.script.get("answers", {}), name, self.number) if self.number >= 0 else None

    def next(self, number: int) -> Tick:
        """The peer's tick of that number, as ours."""
        self.number = number
        self.heard.clear()
        self.notices.clear()
        phases = [self.status.phase.value]
        decision = self._woken(phases)
        while _carried_out(self):
            decision = self.tick()
            _note(phases, self)
        self.settle()
        tick = Tick([*self.heard], self._state(), self._route(), phases[1:], [*self.notices])
        self._pass_time(decision, acts=self._acts(number))
        return tick

    def _woken(self, phases: list[str]) -> Decision:
        """One tick, and again while it was too early (our rules look when something changes, and step when it is time)."""
        for _ in range(5):
            decision = self.tick()
            _note(phases, self)
            wait = decision.wake_after
            quiet = self.pace is Pace.OWN and not self.heard and len(phases) == 1
            if wait is None or not quiet or not 0 < wait < INTERVAL:
                return decision
            self.now += wait
        raise AssertionError("always too early")

    def _pass_time(self, decision: Decision, *, acts: bool) -> None:
        if self.pace is Pace.PEER or decision.wake_after is None:
            self.now += INTERVAL
        else:
            self.now += min(decision.wake_after, INTERVAL / 2) if acts else decision.wake_after

    def _acts(self, number: int) -> bool:
        done = False
        for act in self.script.get("acts", ()):
            if act["after"] == number:
                done = True
                self._act(act)
        if any(tick["tick"] == number and ["stuck"] in tick.get("seen", ()) for tick in self.script["ticks"]):
            self.pass_deadline("app")
        return done

    def _act(self, act: dict[str, Any]) -> None:
        if "image" in act:
            self.release("A" if act["image"] == "app:1" else act["image"])
        if "spec" in act:
            spec = dict(act["spec"])
            self.edit(**spec.pop("analysis", {}))
            self.edit_spec(**spec)
        if "weight" in act:
            self.routes = Routes(100 - act["weight"], act["weight"])
        if "ready" in act:
            self.broken.clear()
        self.settle()

    def _state(self) -> tuple[str, int, int, int]:
        status = self.status
        return status.phase.value, status.canary_weight, status.failed_checks, status.iterations

    def _route(self) -> tuple[int, bool]:
        return (self.routes.canary, self.routes.mirrored) if self.has_weights and isinstance(self.routes, Routes) else (0, False)

    def image(self) -> str:
        """The image of the primary."""
        assert self.primary is not None
        name = self.primary.revision.removeprefix("v2:")
        return "app:1" if name == "A" else name


def _carried_out(world: World) -> bool:
    """Whether our rules have decided something in this tick that they carry out at once, in one more."""
    run = world.status.run
    if run is None:
        return False
    return bool(run.rolling_back) or run.closing or (world.status.phase is Phase.PROMOTING and not run.copied)


def _note(phases: list[str], world: World) -> None:
    if world.status.phase.value != phases[-1]:
        phases.append(world.status.phase.value)


def _hook(said: float | str | None) -> HookResult:
    ok = said is None or (isinstance(said, int) and said <= 202)
    return HookResult(ok, "" if ok else f"said {said}")


def _sample(said: float | str, *, query: str) -> Sample:
    match said:
        case "empty" | "NaN":
            return Sample(query=query)
        case "error" | "timeout":
            return Sample(error=f"scripted {said}", query=query)
        case _:
            return Sample(float(said), query=query)
