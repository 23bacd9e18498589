"""An image bot that sets a rejected tag for ever, with Flux's own controllers: one revert, then the release is held, and a person's word lets it go.

The bot commits as Flux's image automation does: it looks at the branch, sets the newest tag where the marker stands, and commits only when that changes something.
"""

from __future__ import annotations

import time

import pytest

from canary.core.delivery import GRACE
from canary.gitops.breaker import RETRY
from tests.e2e.objects import collection
from tests.flux.conftest import Fleet
from tests.flux.repository import SOURCE, plain

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300), pytest.mark.fault(25)]

QUIET = 4.0
"""Seconds in which a turn of the loop would have shown itself: the source looks every second, and a run takes as long."""
BOT = "Update from image update automation"


class App:
    """An application whose image carries the marker of an ImagePolicy."""

    def __init__(self, fleet: Fleet, name: str) -> None:
        self.fleet, self.name, self.path = fleet, name, f"apps/{name}.yaml"

    def release(self, tag: int, message: str) -> str:
        """Set the tag; the commit."""
        image = f"image: {self.name}:{tag}\n"
        text = plain(self.name, self.fleet.namespace, f"{self.name}:{tag}")
        assert image in text
        marked = text.replace(image, f'image: {self.name}:{tag} # {{"$imagepolicy": "flux-system:{self.name}"}}\n')
        return self.fleet.push({self.path: marked}, message)

    def bot(self) -> bool:
        """One look of the bot; whether it committed."""
        if f"image: {self.name}:3 #" in self.fleet.git.git(SOURCE, "show", f"main:{self.path}"):
            return False
        self.release(3, BOT)
        return True

    def log(self) -> list[str]:
        """Who has written the application's file, oldest first: `bot`, `revert`, or a person's words."""
        names = {f"dev: {BOT}": "bot"}
        lines = reversed(self.fleet.log(self.path))
        return ["revert" if line.startswith("canary: ") else names.get(line, line.removeprefix("dev: ")) for line in lines]

    def condition(self, kind: str, reason: str) -> dict:
        """The condition, once it has this reason."""
        found = self.fleet.condition(self.name, kind)
        return found if found.get("reason") == reason else {}

    def held(self) -> dict:
        """The condition that says that the breaker is open, once Flux has applied the tag and the Canary waits."""
        waiting = self.fleet.get("canaries", self.name)["status"]["phase"] == "Waiting"
        return self.condition("BreakerOpen", "RejectedRelease") if waiting and self.fleet.image(self.name) == f"{self.name}:3" else {}

    def begin(self) -> dict:
        """1 is there, 2 is promoted, 3 fails, is taken back, and all agree; the run that was taken back."""
        fleet = self.fleet
        self.release(1, "one")
        fleet.wait_phase(self.name, "Initialized")
        self.release(2, "two")
        fleet.wait_phase(self.name, "Succeeded")
        fleet.errors.share[self.name] = 50.0
        assert self.bot()
        fleet.wait("the revert to be applied", lambda: self.condition("Converged", "Converged"))
        assert self.log() == ["one", "two", "bot", "revert"]
        return fleet.runs(self.name)[-1]

    def retry(self, run: dict) -> None:
        """As `kubectl annotate`."""
        patch = {"metadata": {"annotations": {RETRY: run["metadata"]["name"]}}}
        path = f"{collection('canaries', self.fleet.namespace)}/{self.name}"
        self.fleet.cluster.api.call("PATCH", path, patch, content_type="application/merge-patch+json")

    def still(self) -> dict:
        """What a turn of the loop would move."""
        return {
            "log": self.log(),
            "runs": [run["metadata"]["name"] for run in self.fleet.runs(self.name)],
            "primary": self.fleet.image(f"{self.name}-primary"),
            "generation": self.fleet.get("deployments", f"{self.name}-primary")["metadata"]["generation"],
            "replicas": self.fleet.get("deployments", self.name)["spec"]["replicas"],
        }


def test_one_revert_then_the_breaker_until_somebody_says_so(fleet: Fleet) -> None:
    app = App(fleet, "robot")
    rejected = app.begin()
    body = fleet.git.git(SOURCE, "log", "-1", "--format=%B", "main", "--", app.path)
    assert "ImagePolicy flux-system/robot sets this value" in body
    expected = ["one", "two", "bot", "revert"]
    for turn in range(3):
        assert app.bot()
        expected += ["bot"]
        held = fleet.wait("the release to be held", app.held)
        assert f"{RETRY}: {rejected['metadata']['name']}" in held["message"]
        before = app.still()
        time.sleep(QUIET)
        assert not app.bot(), "Git says what the bot wants"
        assert app.still() == before
        assert before["log"] == expected
        assert (before["primary"], before["replicas"], len(before["runs"])) == ("robot:2", 0, 2)
        if turn < 2:
            app.release(2, "by hand")
            expected += ["by hand"]
            fleet.wait("the breaker to close", lambda: fleet.image("robot") == "robot:2" and not fleet.condition("robot", "BreakerOpen"))
    assert len(fleet.runs("robot")) == 2
    app.retry(rejected)
    fleet.wait("it to be tried and taken back once more", lambda: app.log() == [*expected, "revert"])
    fleet.wait("that to be applied", lambda: fleet.image("robot") == "robot:2" and app.condition("Converged", "Converged"))
    again = fleet.runs("robot")[-1]
    assert len(fleet.runs("robot")) == 3
    assert app.bot()
    held = fleet.wait("it to be held again", app.held)
    assert f"{RETRY}: {again['metadata']['name']}" in held["message"]
    fleet.errors.share["robot"] = 0.0
    app.retry(again)
    fleet.wait_phase("robot", "Succeeded")
    fleet.wait("the breaker to close", lambda: not fleet.condition("robot", "BreakerOpen"))
    assert fleet.image("robot-primary") == "robot:3"
    assert app.log() == [*expected, "revert", "bot"]


def test_a_bot_that_is_faster_than_flux_changes_nothing(fleet: Fleet) -> None:
    """The tag is back in Git before Flux has seen the revert: to the cluster nothing has happened, so nothing is tried and nothing is written."""
    app = App(fleet, "hasty")
    app.release(1, "one")
    fleet.wait_phase("hasty", "Initialized")
    app.release(2, "two")
    fleet.wait_phase("hasty", "Succeeded")
    fleet.errors.share["hasty"] = 50.0
    assert app.bot()
    fleet.wait("Flux to apply it", lambda: fleet.image("hasty") == "hasty:3")
    fleet.flux.suspend("GitRepository", SOURCE, True)
    try:
        fleet.wait("the revert", lambda: app.log()[-1] == "revert")
        assert app.bot()
        time.sleep(GRACE + 1)
    finally:
        fleet.flux.suspend("GitRepository", SOURCE, False)
    tip = fleet.git.git(SOURCE, "rev-parse", "main").strip()
    fleet.wait("Flux to apply that", lambda: tip in fleet.flux.get("Kustomization", SOURCE)["status"].get("lastAppliedRevision", ""))
    before = app.still()
    time.sleep(QUIET)
    assert app.still() == before
    assert before["log"] == ["one", "two", "bot", "revert", "bot"]
    assert (before["primary"], before["replicas"], len(before["runs"])) == ("hasty:2", 0, 2)
    told = fleet.wait("a condition that says it", lambda: app.condition("Converged", "SetAgain"))
    assert tip[:12] in told["message"]
    [event] = fleet.wait("an event that says it", lambda: fleet.events("hasty", "SetAgain"))
    assert event.get("count", 1) == 1
    app.release(2, "by hand")
    fleet.wait("all to agree", lambda: app.condition("Converged", "Converged"))
    assert fleet.image("hasty") == "hasty:2"
    assert app.bot()
    fleet.wait("the release to be held", app.held)
    assert len(fleet.runs("hasty")) == 2
