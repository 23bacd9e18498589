"""`analysis.sequential`: the defaults of the page, and clear words for what cannot be used."""

from __future__ import annotations

import pytest

from canary.core.errors import Rejected
from canary.core.judge import JudgeConfig, JudgeConfigError, OnInconclusive, Steps


def test_everything_has_a_default():
    config = JudgeConfig.from_spec({})
    assert config == JudgeConfig()
    assert (config.alpha, config.pass_alpha, config.harm_budget, config.max_excess_per_hour) == (0.01, 0.05, 25, 0)
    assert (config.warmup, config.min_duration, config.max_duration, config.max_weight) == (0, 600, 3600, 50)
    assert (config.on_inconclusive, config.steps) == (OnInconclusive.HOLD, Steps.ADAPTIVE)
    assert (config.margin.error_rate, config.margin.slow_ratio, config.margin.slow_share) == (0.002, 1.25, 0.005)


def test_every_key_is_read():
    config = JudgeConfig.from_spec(
        {
            "alpha": 0.02,
            "passAlpha": 0.1,
            "margin": {"errorRate": 0.5, "slowRatio": 1.5, "slowShare": 1},
            "harmBudget": 10,
            "maxExcessPerHour": 60,
            "warmup": "30s",
            "minDuration": 0,
            "maxDuration": "1h30m",
            "onInconclusive": "rollback",
            "steps": "fixed",
            "stepWeights": [1, 10],
            "interval": "2m",
            "maxWeight": 40,
            "thresholds": {"errorRate": 1, "slowMs": [500, 2]},
        }
    )
    assert (config.margin.error_rate, config.margin.slow_ratio, config.margin.slow_share) == (0.005, 1.5, 0.01)
    assert (config.warmup, config.min_duration, config.max_duration, config.interval) == (30, 0, 5400, 120)
    assert config.step_weights == (1, 10, 40)
    assert (config.thresholds.error_rate, config.thresholds.slow_ms, config.thresholds.slow_share) == (0.01, 500, 0.02)


def test_a_step_weight_becomes_a_schedule():
    assert JudgeConfig.from_spec({"steps": "fixed", "stepWeight": 20}).step_weights == (20, 40, 50)


def test_a_short_deadline_shortens_the_default_minimum():
    assert JudgeConfig.from_spec({"maxDuration": "5m"}).min_duration == 300


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"alpha": 0}, "analysis.sequential.alpha: is 0; write a number above 0"),
        ({"alpha": 1}, "write a number below 0.5"),
        ({"alpha": "often"}, "analysis.sequential.alpha: is 'often', which is no number"),
        ({"passAlpha": True}, "is True, which is no number"),
        ({"harmBudget": -1}, "harmBudget: is -1; write a number above 0"),
        ({"minDuration": "ten"}, "analysis.sequential.minDuration: invalid duration 'ten'"),
        ({"minDuration": "-5m"}, "minDuration: is"),
        ({"minDuration": "2h"}, "minDuration: is longer than maxDuration"),
        ({"maxWeight": 0}, "maxWeight: is 0; write a number of at least 1"),
        ({"maxWeight": 33.3}, "write a whole number"),
        ({"onInconclusive": "panic"}, "onInconclusive: is 'panic'; use one of hold, rollback, promote"),
        ({"steps": "quick"}, "use one of adaptive, fixed"),
        ({"margins": {}}, "analysis.sequential.margins: unknown setting"),
        ({"margin": {"errorrate": 1}}, "analysis.sequential.margin.errorrate: unknown setting"),
        ({"margin": {"slowRatio": 0.5}}, "slowRatio: is 0.5; write a number of at least 1"),
        ({"margin": {"errorRatio": 1}}, "errorRatio: is 1; write a number above 1"),
        ({"margin": {"errorRate": 0}}, "errorRate: is 0, so that no amount of data could show health"),
        ({"margin": {"slowRatio": 1, "slowShare": 0}}, "slowShare: is 0 with slowRatio 1"),
        ({"margin": 3}, "analysis.sequential.margin: is 3"),
        ({"thresholds": {"slowMs": 500}}, r"slowMs: is 500; write \[milliseconds, percent\]"),
        ({"thresholds": {"slowMs": [500, 100]}}, r"slowMs\[1\]: is 100; write a number below 100"),
        ({"steps": "fixed", "stepWeights": [5, 5]}, "stepWeights: is .*; write weights that rise"),
        ({"steps": "fixed", "stepWeights": []}, "write a list of percentages"),
        ({"steps": "fixed", "interval": 0}, "interval: is 0; write a number above 0"),
    ],
)
def test_a_bad_value_says_where_and_how_to_mend(spec: dict, words: str):
    with pytest.raises(JudgeConfigError, match=words) as caught:
        JudgeConfig.from_spec(spec)
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, Rejected)
    assert caught.value.hint
