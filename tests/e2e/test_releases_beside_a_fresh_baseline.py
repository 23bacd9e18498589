"""A service whose pods are slow for their first minute, on a real Envoy: what a copy of the old version of the same age is there for."""

import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import pytest

from tests.e2e.objects import LENIENT, SUCCESS, Item, collection
from tests.e2e.stage import SETTLE, Span, Stage
from tests.testbed.api import ApiError
from tests.testbed.traffic import Traffic, assert_split
from tests.testbed.workload import deployment

pytestmark = [pytest.mark.mesh, pytest.mark.timeout(600)]
OPERATOR_FLAGS = ["--ingress-class=contour"]
RATE = 20
"""Requests a second and application. A promotion takes a minute whatever the rate, and five applications share two cores with their mesh."""
PAST = 4 * RATE
COLD = {"COLD_SECONDS": "60", "COLD_MS": "300"}
"""Far beyond what a warm primary needs, also one whose machine is busy."""
MARGIN = {"errorRate": 2, "slowRatio": 3, "slowShare": 30}
"""Wide where a busy machine makes some requests late, and not where it is about failures: the sooner they are seen, the fewer there are."""
JUDGED: Item = {
    "interval": "2s", "stepWeight": 10, "judge": "sequential", "metrics": [SUCCESS, LENIENT],
    "sequential": {"harmBudget": 15, "minDuration": "5s", "maxDuration": "8m", "margin": MARGIN},
}  # fmt: skip
FRESH = JUDGED | {"baseline": "fresh"}
STEP_BY_STEP = FRESH | {"sequential": JUDGED["sequential"] | {"harmBudget": 8}}
"""So little harm may be done that the first step is a small one: shares are seen at several weights, and few users meet a bad version."""
BASELINE = "app-baseline"


def warmed(stage: Stage, analysis: Item) -> None:
    """The service in use for hours, in short: its primary is told that it is warm before anybody asks it."""
    stage.bootstrap(analysis, how={"env": COLD})
    stage.cluster.kubectl("annotate", "pods", "--selector=app=app-primary", "testbed/cold-seconds=0", "--namespace", stage.namespace)
    stage.expose_by_contour()
    stage.watch("deployments", BASELINE)


@contextmanager
def without_its_pods(stage: Stage) -> Iterator[None]:
    """For a while the API server refuses pods of the baseline, as a policy of the cluster may, and no others."""
    kind, policy = "admissionregistration.k8s.io/v1", f"no-baseline-{stage.namespace}"
    pods = {"apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"], "operations": ["CREATE"]}
    here = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": stage.namespace}}}
    spec = {
        "matchConstraints": {"resourceRules": [pods]},
        "validations": [{"expression": f"object.metadata.labels['app'] != '{BASELINE}'"}],
    }
    binding = {"policyName": policy, "validationActions": ["Deny"], "matchResources": here}
    items = [
        {"apiVersion": kind, "kind": "ValidatingAdmissionPolicy", "metadata": {"name": policy}, "spec": spec},
        {"apiVersion": kind, "kind": "ValidatingAdmissionPolicyBinding", "metadata": {"name": policy}, "spec": binding},
    ]
    stage.cluster.apply(items)
    template = deployment(BASELINE, namespace=stage.namespace)["spec"]["template"]
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": template["metadata"] | {"name": "probe"}, "spec": template["spec"]}

    def in_force() -> bool:
        try:
            stage.cluster.api.call("POST", f"{collection('pods', stage.namespace)}?dryRun=All", pod)
        except ApiError as error:
            return policy in str(error)
        return False

    try:
        stage.wait("the policy to be in force", in_force, interval=0.5)  # the API server takes its time
        yield
    finally:
        stage.cluster.kubectl("delete", "validatingadmissionpolicies,validatingadmissionpolicybindings", policy)


def copies(pods: Iterable[str]) -> Counter[str]:
    """How often which copy answered."""
    return Counter(
        "baseline" if pod.startswith(f"{BASELINE}-") else "primary" if pod.startswith("app-primary-") else "canary" for pod in pods
    )


def answered(stage: Stage, traffic: Traffic, span: Span) -> Counter[str]:
    """The same for a span of constant weights, once Envoy follows them; failures count, since they were answered as well."""
    began = time.monotonic() - traffic.now
    since, until = span.since + SETTLE - began, span.until - began
    return copies(answer.pod for answer in list(traffic.answers) if since <= answer.at < until and answer.pod)


def shares(weight: int, baseline: int) -> dict[str, float]:
    """What clients shall meet."""
    return {"canary": weight / 100, "baseline": baseline / 100, "primary": 1 - (weight + baseline) / 100}


def splits(stage: Stage) -> list[tuple[Span, int]]:
    """Spans in which the routes gave canary and baseline the same weights, and the baseline's weight in them."""

    def pick(proxy: Item) -> tuple[int, int]:
        named = {one["name"]: int(one.get("weight") or 0) for one in proxy["spec"]["routes"][0]["services"]}
        return named.get("app-canary", 0), named.get(BASELINE, 0)

    moves = stage.routes("httpproxies").history(pick, since=stage.mark)
    ends = [at for at, _ in moves[1:]] + [time.monotonic()]
    return [(Span(weight, at, end), share) for (at, (weight, share)), end in zip(moves, ends, strict=True)]


def assert_clients_met_both_alike(stage: Stage, traffic: Traffic) -> None:
    """At every weight, what the routes say is what clients meet; and they say the same for canary and baseline."""
    measured = 0
    for span, baseline in splits(stage):
        seen = answered(stage, traffic, span)
        if not baseline or not seen:
            continue
        assert baseline == min(span.weight, (100 - span.weight) // 2), (span, baseline)
        assert_split(seen, shares(span.weight, baseline))
        measured += seen.total()
    assert measured > RATE, "the split was hardly measured"


def assert_nothing_is_left(stage: Stage) -> None:
    """No object of the baseline stands a while after the run, and none of the primary's share goes there."""

    def named() -> list[str]:
        kinds = ("deployments", "services", "pods", "configmaps", "secrets", "httpproxies", "canaries")
        found = [
            f"{kind}/{item['metadata']['name']}" for kind in kinds for item in stage.items(kind) if "baseline" in item["metadata"]["name"]
        ]
        return [*found, *(f"route {one}" for one in ["httpproxies"] if BASELINE in str([item["spec"] for item in stage.items(one)]))]

    stage.wait("nothing to be called like the baseline", lambda: not named(), interval=0.5)


def test_a_primary_that_is_warm_makes_a_healthy_release_look_bad(stage: Stage) -> None:
    """What the option is for: without it, this release cannot be promoted in its first minute."""
    warmed(stage, JUDGED)
    with stage.traffic(rate=RATE) as traffic:
        traffic.collect(PAST)
        stage.deploy("app:2", env=COLD)
        status = stage.wait_end("Failed")
        assert traffic.stop().failures == {}
    assert {check["name"]: check["verdict"] for check in status["checks"]}["judge/latency"] == "Fail"
    assert stage.image_of("app-primary") == "app:1"
    assert not stage.watch("deployments", BASELINE).seen, "a baseline without being asked for"


def test_beside_a_fresh_copy_of_the_old_version_it_is_promoted(stage: Stage) -> None:
    warmed(stage, STEP_BY_STEP)
    with stage.traffic(rate=RATE) as traffic:
        traffic.collect(PAST)
        began = time.monotonic()
        stage.deploy("app:2", env=COLD)
        stage.wait_end("Succeeded")
        print(f"promoted after {time.monotonic() - began:.0f} s at {stage.weights()}")
        assert_nothing_is_left(stage)
        assert traffic.stop().failures == {}
        assert_clients_met_both_alike(stage, traffic)
    weights = stage.weights()
    assert len(weights) > 1
    assert weights == sorted(weights)
    assert weights[-1] == 33, "more would give the canary's pods more to do than the baseline's"
    [run] = stage.items("canaryruns")
    assert run["status"]["baseline"] == {"compared": "fresh"}
    assert "above fresh baseline" in run["status"]["reason"], run["status"]["reason"]
    assert stage.image_of("app-primary") == "app:2"


def test_a_release_that_fails_is_taken_back_against_the_fresh_copy(stage: Stage) -> None:
    """By comparison alone: fixed bounds, which would do here as well, are not looked at."""
    warmed(stage, STEP_BY_STEP | {"metrics": [check | {"role": "informational"} for check in (SUCCESS, LENIENT)]})
    with stage.traffic(rate=RATE) as traffic:
        traffic.collect(PAST)
        stage.deploy("app:2", env=COLD | {"ERROR_RATE": "0.5"})
        status = stage.wait_end("Failed")
        assert_nothing_is_left(stage)
        assert copies(traffic.collect(2 * RATE).pods.elements()) == {"primary": 2 * RATE}
        failures = traffic.stop().failures
        assert_clients_met_both_alike(stage, traffic)
    assert set(failures) == {"500 from app:2"}, failures
    assert failures.total() <= 30, failures
    assert "canary requests failed" in status["failureReason"]
    assert {check["name"]: check["verdict"] for check in status["checks"]}["judge/errorRate"] == "Fail"
    assert stage.image_of("app-primary") == "app:1"


def test_a_baseline_that_cannot_start_costs_the_release_nothing(stage: Stage) -> None:
    """A policy of the cluster keeps its pods out. The run goes on against the primary, which these pods are as quick as, and says so."""
    stage.bootstrap(FRESH, how={"deadline": 15})
    stage.expose_by_contour()
    with without_its_pods(stage), stage.traffic(rate=RATE) as traffic:
        stage.deploy("app:2", deadline=15)
        stage.wait_message("is compared with its primary from now on", BASELINE)
        stage.wait("the first step", lambda: stage.status.get("canaryWeight"), never=["Failed"])
        assert_nothing_is_left(stage)
        stage.wait_end("Succeeded")
        assert traffic.stop().failures == {}
    assert all(not baseline for _, baseline in splits(stage))
    [run] = stage.items("canaryruns")
    assert run["status"]["baseline"]["compared"] == "primary"
    assert "exceeded its progress deadline" in run["status"]["baseline"]["reason"]


def test_a_baseline_deleted_by_hand_is_made_again(stage: Stage) -> None:
    """Its Deployment, then its Service. Nobody is sent to where it was: its share is the primary's until it serves. The run comes to its end."""
    warmed(stage, FRESH)
    with stage.traffic(rate=RATE) as traffic:
        traffic.collect(PAST)
        stage.deploy("app:2", env=COLD)
        stage.wait("the baseline to have a share", lambda: any(baseline for _, baseline in splits(stage)), never=["Failed"])
        for kind in ("deployments", "services"):
            time.sleep(SETTLE)
            deleted = delete_baseline(stage, kind)
            again = stage.wait("its share again", lambda since=deleted: shared_again(stage, since), never=["Failed", "Succeeded"])
            assert stage.image_of(BASELINE) == "app:1"
            failures = traffic.tally(deleted - (time.monotonic() - traffic.now)).failures
            print(f"{kind}: a share again after {again - deleted:.1f} s; {failures}")
        stage.wait_end("Succeeded")
        assert_nothing_is_left(stage)
        # What is deleted by hand goes before the routes do: requests of the moment until the operator, Contour and Envoy have heard of it may fail.
        assert traffic.stop().failures.total() <= 3 * RATE


def delete_baseline(stage: Stage, kind: str) -> float:
    """Returns once there is another object of that name, with the moment of the deletion."""
    watch, uid = stage.watch(kind, BASELINE), stage.get(kind, BASELINE)["metadata"]["uid"]
    deleted = time.monotonic()
    stage.delete(kind, BASELINE)

    def made() -> bool:
        return watch.latest is not None and watch.latest["metadata"]["uid"] != uid

    stage.wait("another one", made, never=["Failed", "Succeeded"])
    return deleted


def shared_again(stage: Stage, deleted: float) -> float | None:
    """When the baseline had a share once more, after it had none."""
    lost = next((span.since for span, share in splits(stage) if span.since > deleted and not share), None)
    return next((span.since for span, share in splits(stage) if lost is not None and span.since > lost and share), None)
