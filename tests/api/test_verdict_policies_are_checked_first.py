"""`onFailure` and `role`: what contradicts itself is refused before a run, and each policy is one sentence in the reference."""

import pytest

from canary.api.analysis import Metric, OnFailure, Role
from canary.api.canary import parse_canary
from canary.api.errors import InvalidObject, Level
from canary.api.validation import review
from tests.api.manifests import edited
from tests.api.upstream import our_crds, root_schema

RATE = {"name": "request-success-rate", "thresholdRange": {"min": 99}}
POLICIES = {
    "onFailure": (),
    "role": ("metrics",),
    "dryRun": ("metrics",),
    "noData": ("metrics",),
    "onError": ("metrics",),
    "warmup": ("sequential",),
    "minDuration": ("sequential",),
    "maxDuration": ("sequential",),
    "onInconclusive": ("sequential",),
}


def problems(**analysis):
    obj = edited(**{f"analysis__{name}": value for name, value in analysis.items()})
    return review(parse_canary(obj), provider="istio", no_cross_namespace_refs=False)


def test_absent_means_as_upstream():
    analysis = parse_canary(edited(analysis__metrics=[RATE])).spec.analysis
    assert analysis.on_failure is OnFailure.ROLLBACK
    assert (analysis.metrics[0].role, analysis.metrics[0].critical, analysis.metrics[0].informational) == (None, False, False)
    assert not {"onFailure", "role"} & {*analysis.to_dict(), *analysis.metrics[0].to_dict()}


@pytest.mark.parametrize(
    ("words", "critical", "informational"),
    [
        ({"role": "critical"}, True, False),
        ({"role": "informational"}, False, True),
        ({"dryRun": True}, False, True),
        ({"dryRun": True, "role": "informational"}, False, True),
        ({"dryRun": True, "role": "critical"}, False, True),
    ],
)
def test_roles_and_the_older_word_mean_one_thing(words, critical, informational):
    metric = Metric.model_validate({**RATE, **words})
    assert (metric.critical, metric.informational) == (critical, informational)


def test_critical_and_dry_run_exclude_each_other():
    [problem] = problems(metrics=[RATE, {**RATE, "name": "request-duration", "role": "critical", "dryRun": True}])
    assert (problem.path, problem.level) == ("spec.analysis.metrics[1].role", Level.ERROR)
    assert "keep one" in problem.hint


@pytest.mark.parametrize("judge", ["threshold", "guarded", "sequential"])
@pytest.mark.parametrize("role", list(Role))
def test_a_role_that_changes_nothing_is_said_to(judge, role):
    found = problems(judge=judge, stepWeight=10, maxWeight=50, metrics=[{**RATE, "role": role.value}])
    useless = judge == "sequential" and role is Role.CRITICAL
    assert [(problem.path, problem.level) for problem in found] == [("spec.analysis.metrics[0].role", Level.WARNING)] * useless


def test_a_critical_template_is_no_problem_where_evidence_decides():
    template = {"name": "queue", "templateRef": {"name": "queue"}, "role": "critical"}
    assert problems(judge="sequential", stepWeight=10, maxWeight=50, metrics=[template]) == []


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("onFailure", "shrug", ("spec.analysis.onFailure", "rollback", "hold")),
        ("metrics", [{**RATE, "role": "important"}], ("spec.analysis.metrics[0].role", "critical", "informational")),
    ],
)
def test_an_unknown_word_is_refused_with_the_known_ones(field, value, words):
    with pytest.raises(InvalidObject) as refused:
        parse_canary(edited(**{f"analysis__{field}": value}))
    assert all(word in str(refused.value) for word in words), str(refused.value)


@pytest.mark.parametrize("name", POLICIES)
def test_the_reference_explains_each_policy_in_one_sentence(name):
    node = root_schema(our_crds()["canaries.flagger.app"])["properties"]["spec"]["properties"]["analysis"]
    for part in POLICIES[name]:
        node = node["properties"][part]
        node = node.get("items", node)
    sentence = node["properties"][name]["description"]
    assert sentence.endswith(".")
    assert ". " not in sentence, "one sentence"
    assert len(sentence) <= 170
