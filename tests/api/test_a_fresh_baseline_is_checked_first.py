"""`analysis.baseline: fresh`: whatever makes it mean nothing is refused before a run, by one sentence each, by us and by the API server."""

import pytest

from canary.api.canary import parse_canary
from canary.api.errors import InvalidObject, Level
from canary.api.validation import review
from tests.api.manifests import edited
from tests.api.test_crds_accept_what_upstream_accepts import Offline, Server, wait_for_schema
from tests.api.upstream import REPOSITORY, our_crds, root_schema

MATCH = [{"headers": {"x": {"exact": "y"}}}]
COOKIE = {"cookieName": "x"}
NAME = "canaries.flagger.app"


def fresh(judge="sequential", *, kind="Deployment", **analysis):
    fields = {"stepWeight": 10} | analysis
    target = {"apiVersion": "apps/v1", "kind": kind, "name": "podinfo"}
    return edited(targetRef=target, analysis={"interval": "10s", "threshold": 5, "judge": judge, "baseline": "fresh", **fields})


def without(obj, *fields):
    for field in fields:
        del obj["spec"]["analysis"][field]
    return obj


REFUSED = {
    "counted checks": (without(fresh(), "judge"), "spec.analysis.baseline", "add judge: guarded or sequential"),
    "counted checks by name": (fresh("threshold"), "spec.analysis.baseline", "judge is threshold"),
    "copies": (fresh("guarded", mirror=True), "spec.analysis.mirror", "remove mirror"),
    "copies, with evidence": (fresh(mirror=True), "spec.analysis.mirror", "requests and no copies"),
    "other requests": (fresh(match=MATCH), "spec.analysis.judge", "remove match"),
    "blue/green": (without(fresh("guarded", iterations=5), "stepWeight"), "spec.analysis.judge", "use stepWeight"),
    "cookies": (fresh("guarded", sessionAffinity=COOKIE), "spec.analysis.sessionAffinity", "nobody on the baseline"),
    "cookies, with evidence": (fresh(sessionAffinity=COOKIE), "spec.analysis.sessionAffinity", "a cookie keeps users"),
    "another kind": (fresh(kind="DaemonSet"), "spec.analysis.baseline", "a DaemonSet has none"),
}
ACCEPTED = {
    "adaptive": fresh(),
    "guarded": fresh("guarded"),
    "guarded up to all of it": fresh("guarded", maxWeight=100),
    "list": without(fresh(stepWeights=[1, 5, 33]), "stepWeight"),
    "said to be off": fresh(mirror=False, match=[], iterations=0),
    "primary, by name": fresh("threshold", baseline="primary"),
    "primary, with anything": fresh("guarded", baseline="primary", mirror=True, sessionAffinity=COOKIE),
}


def problems(obj, provider="contour"):
    return review(parse_canary(obj), provider=provider, no_cross_namespace_refs=False)


@pytest.mark.parametrize("name", REFUSED)
def test_each_contradiction_is_one_error_with_its_way_out(name):
    obj, path, words = REFUSED[name]
    [problem] = [problem for problem in problems(obj) if problem.level is Level.ERROR]
    assert problem.path == path
    assert words in f"{problem.message}; {problem.hint}"
    assert problem.hint


@pytest.mark.parametrize("name", ACCEPTED)
def test_what_goes_with_it_is_not(name):
    given = ACCEPTED[name]
    if name != "said to be off":  # which names two schedules
        assert problems(given) == []


def test_without_weights_it_is_refused_as_the_judge_is():
    [problem] = [problem for problem in problems(fresh(), "kubernetes") if problem.level is Level.ERROR]
    assert problem.path == "spec.analysis.judge"
    assert "has neither" in problem.message


def test_with_nothing_to_analyse_it_is_idle_and_no_error():
    obj = fresh()
    obj["spec"]["skipAnalysis"] = True
    [problem] = problems(obj)
    assert (problem.path, problem.level) == ("spec.analysis.baseline", Level.WARNING)
    assert "skipAnalysis" in problem.message


def test_a_word_that_is_none_is_refused_by_both():
    obj = fresh(baseline="new")
    assert isinstance(Offline(our_crds()[NAME]).create(obj), str)
    with pytest.raises(InvalidObject, match=r"spec\.analysis\.baseline"):
        parse_canary(obj)


def test_the_schema_has_a_rule_for_each_contradiction_under_both_spellings():
    spec = root_schema(our_crds()[NAME])["properties"]["spec"]
    rules = spec["properties"]["analysis"]["x-kubernetes-validations"]
    assert spec["properties"]["canaryAnalysis"]["x-kubernetes-validations"] == rules
    for field in ("judge", "mirror", "match", "iterations", "sessionAffinity"):
        assert [rule for rule in rules if f"has(self.{field})" in rule["rule"]], field
    for rule in (*rules, *spec["x-kubernetes-validations"]):
        assert "baseline" in rule["rule"]
        assert rule["message"].startswith("baseline: fresh ")
    assert len(spec["x-kubernetes-validations"]) == 2


@pytest.mark.cluster
def test_on_a_server_contradictions_are_refused_by_one_rule_each(cluster, namespace):
    cluster.crds(REPOSITORY / "crds")
    wait_for_schema(cluster, ours=True)
    server = Server(cluster)
    for name, (obj, _, _) in REFUSED.items():
        obj["metadata"]["namespace"] = namespace
        answer = server.create(obj)
        assert isinstance(answer, str), name
        assert answer.count("baseline: fresh") == 1, (name, answer)
    for name, obj in ACCEPTED.items():
        if name == "said to be off":
            del obj["spec"]["analysis"]["iterations"]  # one schedule
        obj["metadata"]["namespace"] = namespace
        assert not isinstance(server.create(obj), str), name
