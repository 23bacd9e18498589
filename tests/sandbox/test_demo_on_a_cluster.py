"""`canary demo --cluster` on a real control plane behind Contour: the story is told, and the cluster is as it was before."""

import json
import sys
from pathlib import Path

import pytest

from canary.api.crd import KINDS
from tests.sandbox.demo import Demo
from tests.testbed.cluster import KubectlError
from tests.testbed.mesh import Mesh
from tests.testbed.process import Process
from tests.testbed.waiting import until

pytestmark = [pytest.mark.mesh, pytest.mark.slow, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[2]
MANIFEST = ROOT / "examples" / "podinfo-2020.yaml"
BAD = ("--bad-env=ERROR_RATE=0.5",)
PLACE = (f"--address={Mesh.gateway_url}", f"--metrics-server={Mesh.prometheus_url}")


@pytest.fixture
def bare(cluster, mesh):
    """Without our kinds: other modules may have left them."""
    crds = definitions(cluster)
    if crds:
        cluster.kubectl("delete", "crd", "--wait", *crds)
    return cluster


def definitions(cluster):
    names = json.loads(cluster.kubectl("get", "crd", "-o", "json"))["items"]
    return [one["metadata"]["name"] for one in names if one["spec"]["group"] in {"flagger.app", "canary.dev"}]


def exists(cluster, *what):
    try:
        cluster.kubectl("get", *what)
    except KubectlError:
        return False
    return True


def tell(cluster, folder, *flags):
    folder.parent.mkdir(exist_ok=True)
    # A window of ten seconds: with a minute's, what the pods of one test did would be held against those of the next.
    manifest = folder.with_suffix(".yaml")
    manifest.write_text(MANIFEST.read_text().replace("interval: 1m", "interval: 10s"))
    place = (f"--manifest={manifest}", f"--kubeconfig={cluster.kubeconfig}", *PLACE)
    it = Demo(folder, "--cluster", "--yes", "--json", "--interval=2s", *place, *BAD, *flags)
    try:
        code, out, err = it.end(500)
    finally:
        it.close()
    told = [json.loads(line) for line in out.splitlines()]
    assert code == 0, f"{err}\n{out[-3000:]}"
    return it, told


def test_the_story_is_told_with_an_operator_of_its_own_and_nothing_is_left(bare, tmp_path):
    it, told = tell(bare, tmp_path / "demo", "--mesh-provider=contour")
    good, bad = told[-1]["runs"]
    assert (good["outcome"], good["failed_requests"], bad["outcome"], bad["failed_check"]) == (
        "Succeeded",
        0,
        "Failed",
        "request-success-rate",
    )
    assert good["requests"] > 100
    assert bad["failed_requests"] > 0
    assert bad["git"]["revert"]
    assert told[-1]["parts"]["api"].startswith("kubernetes v1.")
    rest = next(one for one in told if one["event"] == "rest")
    assert rest["rests"]
    assert definitions(bare) == []
    assert not exists(bare, "namespace", "prod")
    assert it.files() == []
    assert it.gone()


def test_an_operator_that_is_there_acts_and_its_kinds_stay(bare, tmp_path):
    bare.crds(*sorted((ROOT / "crds").glob("*.yaml")))
    flags = [
        "-enable-leader-election",
        "-mesh-provider=gatewayapi:v1",
        f"-metrics-server={Mesh.prometheus_url}",
        "-port=0",
        "-host=127.0.0.1",
    ]
    command = [sys.executable, "-m", "canary.cli.main", "run", f"-kubeconfig={bare.kubeconfig}", *flags]
    operator = Process("operator", command, log=tmp_path / "operator.log")
    try:
        until("the lease", lambda: exists(bare, "lease", "-n", "kube-system", "flagger-leader-election"), 90)
        it, told = tell(bare, tmp_path / "demo", "--gateway=projectcontour/contour")
        assert "holds lease kube-system/flagger-leader-election" in told[-1]["parts"]["operator"]
        assert {run["outcome"] for run in told[-1]["runs"]} == {"Succeeded", "Failed"}
        assert len(definitions(bare)) == len(KINDS)
        assert not exists(bare, "namespace", "prod")
        assert it.gone()
    finally:
        operator.stop()
