"""`analysis.judge`: what cannot be compared is refused before a run, and the values mean what the judge takes them for."""

import pytest

from canary.api.canary import parse_canary
from canary.api.errors import Level
from canary.api.validation import review
from canary.core.judge import JudgeConfig
from tests.api.manifests import edited

MATCH = [{"headers": {"x": {"exact": "y"}}}]


def judged(judge="sequential", *, steps=10, **analysis):
    fields = {f"analysis__{name}": value for name, value in analysis.items()}
    return edited(analysis__judge=judge, analysis__stepWeight=steps, analysis__maxWeight=fields.pop("analysis__maxWeight", ...), **fields)


def problems(obj, *, provider="contour"):
    return review(parse_canary(obj), provider=provider, no_cross_namespace_refs=False)


REFUSED = {
    "no mesh": (judged(), "kubernetes", "spec.analysis.judge", "has neither"),
    "counts": (judged("guarded", steps=..., iterations=5), "contour", "spec.analysis.judge", "use stepWeight"),
    "other requests": (judged("guarded", match=MATCH), "contour", "spec.analysis.judge", "remove match"),
    "everything": (judged(maxWeight=100), "contour", "spec.analysis.maxWeight", "at most 95"),
    "everything at last": (judged(steps=..., stepWeights=[5, 100]), "contour", "spec.analysis.stepWeights[1]", "at most 95"),
    "cookies": (judged(sessionAffinity={"cookieName": "x"}), "istio", "spec.analysis.sessionAffinity", "cookie"),
    "no duration": (judged(sequential={"minDuration": "soon"}), "istio", "spec.analysis.sequential.minDuration", "1h30m"),
    "negative": (judged(sequential={"warmup": "-3s"}), "istio", "spec.analysis.sequential.warmup", "too short"),
    "no time at all": (judged(sequential={"maxDuration": "0s"}), "istio", "spec.analysis.sequential.maxDuration", "too short"),
    "end before beginning": (
        judged(sequential={"minDuration": "2h"}), "istio", "spec.analysis.sequential.minDuration", "longer than maxDuration",
    ),
    "certain": (judged(sequential={"alpha": 0}), "istio", "spec.analysis.sequential.alpha", "0.01"),
    "careless": (judged("guarded", sequential={"passAlpha": 0.7}), "istio", "spec.analysis.sequential.passAlpha", "0.01"),
}  # fmt: skip


@pytest.mark.parametrize(("obj", "provider", "path", "words"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_compared_is_refused(obj, provider, path, words):
    [problem] = [problem for problem in problems(obj, provider=provider) if problem.level is Level.ERROR]
    assert problem.path == path
    assert words in f"{problem.message}; {problem.hint}"


@pytest.mark.parametrize(
    "obj",
    [
        judged(),
        judged("guarded"),
        judged("guarded", maxWeight=100),
        judged("guarded", mirror=True),
        judged(mirror=True),
        judged(mirror=True, mirrorWeight=20),
        judged("guarded", sessionAffinity={"cookieName": "x"}),
        judged("threshold", maxWeight=100),
        judged(steps=..., stepWeights=[1, 5, 50]),
        judged(sequential={"maxDuration": "5m"}),  # minDuration follows it
        judged(sequential={"margin": {"errorRatio": 1.5}, "steps": "fixed", "onInconclusive": "rollback", "maxDuration": "1h30m"}),
    ],
)
def test_what_can_be_compared_is_not(obj):
    assert problems(obj) == []


def test_settings_without_a_judge_are_said_to_be_unused():
    [problem] = problems(judged(..., sequential={"alpha": 0.01}))
    assert (problem.path, problem.level) == ("spec.analysis.sequential", Level.WARNING)
    assert "judge: sequential" in problem.hint


@pytest.mark.parametrize(
    ("judge", "top"), [("threshold", 100), ("guarded", 100), ("sequential", 50)], ids=["threshold", "guarded", "sequential"]
)
def test_only_an_adaptive_release_stops_half_way_by_itself(judge, top):
    assert parse_canary(judged(judge)).spec.analysis.max_weight_effective == top


def test_with_a_fresh_baseline_an_adaptive_release_leaves_each_copy_a_third():
    assert parse_canary(judged(baseline="fresh")).spec.analysis.max_weight_effective == 33
    assert parse_canary(judged("guarded", baseline="fresh")).spec.analysis.max_weight_effective == 100
    assert parse_canary(judged(baseline="fresh", maxWeight=60)).spec.analysis.max_weight_effective == 60
    assert parse_canary(judged(baseline="primary")).spec.analysis.max_weight_effective == 50


def test_every_key_is_one_that_the_judge_reads():
    given = {
        "alpha": 0.02,
        "passAlpha": 0.1,
        "margin": {"errorRate": 0.5, "errorRatio": 2, "slowRatio": 1.5, "slowShare": 1},
        "harmBudget": 10,
        "maxExcessPerHour": 60,
        "warmup": "30s",
        "minDuration": "2m",
        "maxDuration": "2h",
        "onInconclusive": "rollback",
        "steps": "fixed",
    }
    analysis = parse_canary(judged(sequential=given)).spec.analysis
    assert problems(judged(sequential=given)) == []
    config = JudgeConfig.from_spec(analysis.sequential.to_dict())
    assert (config.alpha, config.pass_alpha, config.harm_budget, config.max_excess_per_hour) == (0.02, 0.1, 10, 60)
    assert (config.warmup, config.min_duration, config.max_duration) == (30, 120, 7200)
    assert (config.min_duration, config.max_duration) == (analysis.sequential.min_seconds, analysis.sequential.max_seconds)
    assert (config.margin.error_rate, config.margin.error_ratio, config.margin.slow_ratio, config.margin.slow_share) == (
        0.005,
        2,
        1.5,
        0.01,
    )


def test_nothing_given_is_the_judges_own_default():
    analysis = parse_canary(judged()).spec.analysis
    assert JudgeConfig.from_spec(analysis.sequential.to_dict()) == JudgeConfig()
    defaults = analysis.sequential
    assert (defaults.min_seconds, defaults.max_seconds) == (JudgeConfig().min_duration, JudgeConfig().max_duration)
