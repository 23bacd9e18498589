"""With `layout: refs` from end to end: operators write through their outboxes, each into the ref of its cluster; rings, gates and the command read that."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from canary.api.gitsink import parse_git_sink
from canary.gitops.rings.decide import decide
from canary.gitops.rings.mirror import outcomes
from canary.gitops.rings.reader import Memory, plan_of, read
from canary.gitops.rings.standing import Phase
from canary.kube.resource import CANARY_RUNS, GIT_SINKS, SECRETS
from tests.gitops.support import NAMESPACE, Api, drained, run, secret, sink
from tests.rings.repository import RINGS, Fleet, images, manifest

pytestmark = pytest.mark.slow

PATH = "fleet/plans/podinfo.yaml"
PLAN: dict[str, Any] = {
    "apiVersion": "canary.dev/v1alpha1",
    "kind": "RolloutPlan",
    "metadata": {"name": "podinfo"},
    "spec": {
        "canary": {"namespace": "prod", "name": "podinfo"},
        "rings": [{"name": name, "bakeTime": "0s"} for name in RINGS],
        "records": {"layout": "refs"},
    },
}
OLD, NEW = "6.0.0", "6.1.0"


HOW_TO = Path("docs/how-to/rings.md").read_text(encoding="utf-8")


class Operator:
    """One cluster's: an API with a sink whose records go to the cluster's own ref."""

    def __init__(self, fleet: Fleet, cluster: str, **spec: Any) -> None:
        self.api, self.cluster, ring = Api(), cluster, cluster.rpartition("-")[0]
        self.ref = f"refs/canary/outcomes/{ring}/{cluster}"
        records = {"ref": f"refs/canary/outcomes/{ring}/{{cluster}}"}
        self.api.add(GIT_SINKS, sink(fleet.url, cluster=cluster, records=records, **spec))

    async def ends(self, name: str, outcome: str = "Succeeded") -> None:
        """A run of the new release ends so, and the outbox writes all that there is to write about it."""
        kinds = ("record/fleet", "revert/fleet", "amend/fleet") if outcome == "Failed" else ("record/fleet",)
        now = datetime.fromtimestamp(time.time(), UTC).isoformat()
        body = run(name, outcome=outcome, images=images(NEW), previous=images(OLD), effects=kinds, finishedAt=now)
        body["spec"]["startedAt"] = now
        self.api.add(CANARY_RUNS, body)
        await drained(self.api)
        self.api.assert_untouched()


@pytest.fixture
def fleet(server, tmp_path):
    fleet = Fleet(server, tmp_path, {"apps/podinfo.yaml": manifest(OLD), PATH: yaml.safe_dump(PLAN)})
    fleet.release(NEW)
    return fleet


async def phases(fleet: Fleet, mirror: Any = None, memory: Memory | None = None, **records: str) -> tuple[list[Phase], tuple[str, ...]]:
    """Of the new release, ring by ring, and what is not believed."""
    spec = PLAN["spec"] | {"records": {"layout": "refs", **records}}
    plan = plan_of(yaml.safe_dump(PLAN | {"spec": spec}).encode(), PATH)
    view = await read(mirror or fleet.mirror(), plan, memory)
    return [one.phase for one in decide(plan, view, time.time() + 600).standings[0]], view.problems


def shown(fleet: Fleet, repo: str) -> list[tuple[str, str, int]]:
    """What the command says of the new release: ring, phase, clusters that succeeded."""
    command = [sys.executable, "-m", "canary.cli.main", "rings", "--repo", repo, "--plan", PATH, "--json", "--at=2099-01-01T00:00:00Z"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    release = json.loads(done.stdout)["releases"][0]
    assert release["release"].startswith(f"{NEW}-")
    return [(ring["ring"], ring["phase"], ring["succeeded"]) for ring in release["rings"]]


def test_the_how_to_names_the_ref_that_rings_look_at():
    found = [yaml.safe_load(text)["records"] for text in re.findall(r"```yaml\n(records:.*?)```", HOW_TO, re.DOTALL)]
    (ref,) = [records["ref"] for records in found if "ref" in records]
    (layout,) = [records for records in found if "layout" in records]
    plan = plan_of(yaml.safe_dump(PLAN | {"spec": PLAN["spec"] | {"records": layout}}).encode(), PATH)
    where = parse_git_sink(sink("https://git.example/fleet.git", records={"ref": ref})).spec.records_ref
    assert where == f"{outcomes(plan)}/innovators/cluster-001"
    assert f"`{outcomes(plan)}/<ring>/<cluster>`" in HOW_TO
    assert f"ref: {ref}" in Path("docs/how-to/git-write-back.md").read_text(encoding="utf-8")


async def test_rings_open_by_what_operators_wrote_into_their_refs(fleet):
    mirror, memory = fleet.mirror(), Memory()
    assert await phases(fleet, mirror, memory) == ([Phase.OPEN, Phase.WAITING, Phase.WAITING], ())
    await Operator(fleet, "first-0").ends("r1")
    assert await phases(fleet, mirror, memory) == ([Phase.PASSED, Phase.OPEN, Phase.WAITING], ())
    for number in range(2):
        await Operator(fleet, f"second-{number}").ends("r1")
    assert await phases(fleet, mirror, memory) == ([Phase.PASSED, Phase.PASSED, Phase.OPEN], ())
    assert fleet.git("for-each-ref", "--format=%(refname)").split() == [
        *(f"refs/canary/outcomes/{name.rpartition('-')[0]}/{name}" for name in ("first-0", "second-0", "second-1")),
        "refs/heads/main",
    ]


async def test_the_command_shows_them_from_the_server_and_from_the_repository_itself(fleet):
    await Operator(fleet, "first-0").ends("r1")
    await Operator(fleet, "second-1").ends("r1")
    expected = [("first", "passed", 1), ("second", "open", 1), ("third", "waiting", 0)]
    assert shown(fleet, fleet.url) == expected
    assert shown(fleet, str(fleet.server.root / "fleet.git")) == expected


async def test_a_clone_shows_them_once_the_refs_are_fetched_as_the_how_to_says(fleet, tmp_path):
    await Operator(fleet, "first-0").ends("r1")
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "-q", fleet.url, str(clone)], check=True)
    assert shown(fleet, str(clone))[0] == ("first", "open", 0)
    (line,) = [line for line in HOW_TO.splitlines() if line.startswith("git fetch")]
    subprocess.run(shlex.split(line), cwd=clone, check=True, capture_output=True)
    assert shown(fleet, str(clone))[0] == ("first", "passed", 1)


async def test_a_failed_run_halts_the_rings_and_naming_its_revert_is_no_tampering(fleet):
    """The record is amended by a second commit on the ref: its history grows, and what it says of the outcome stays."""
    mirror, memory = fleet.mirror(), Memory()
    operator = Operator(fleet, "first-0")
    await operator.ends("r1", outcome="Failed")
    assert fleet.git("rev-list", "--count", operator.ref) == "2"
    said = json.loads(fleet.git("show", f"{operator.ref}:first-0/prod/podinfo/r1.json"))
    assert (said["outcome"], said["effects"]) == ("failed", {"revertCommit": fleet.head("main")})
    assert fleet.show("apps/podinfo.yaml") == manifest(OLD).strip()
    plan = plan_of(yaml.safe_dump(PLAN).encode(), PATH)
    view = await read(mirror, plan, memory)
    decision = decide(plan, view, time.time() + 600)
    (release,) = decision.halted
    assert release.startswith(f"{NEW}-")
    assert view.problems == ()
    await operator.ends("r2")
    assert (await read(mirror, plan, memory)).problems == ()


async def test_only_clusters_that_sign_their_refs_are_believed_where_signatures_are_required(fleet, tmp_path):
    lines = []
    for cluster in ("first-0", "second-0", "second-1"):
        key = tmp_path / cluster
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", cluster, "-f", str(key)], check=True)
        named = "first-0" if cluster == "first-0" else "second-0"  # second-1 is known by another cluster's name
        lines.append(f"{named} {key.with_suffix('.pub').read_text()}")
        operator = Operator(fleet, cluster, identity={"signing": {"type": "ssh", "secretRef": {"name": "sign"}}})
        operator.api.add(SECRETS, secret("sign", identity=key.read_text()))
        await operator.ends("r1")
        assert operator.api.stored(GIT_SINKS, NAMESPACE, "fleet")["spec"]["cluster"] == cluster
    fleet.write({"fleet/allowed_signers": "".join(lines)})
    found, problems = await phases(fleet, signatures="required")
    assert found == [Phase.PASSED, Phase.OPEN, Phase.WAITING]
    (doubt,) = problems
    assert doubt.startswith("second-1: ")
    assert doubt.endswith(" is signed by second-0; nothing in it counts")
