"""Verdicts from counts: is the new version worse than the old one, and how sure are we?

    judge = SequentialJudge(JudgeConfig.from_spec(spec), history)
    decision = judge.observe(Tick(ts, canary=Arm(...), primary=Arm(...), weight=5))

`docs/explanation/judge.md` says how it decides and what that was measured to be worth.
"""

from canary.core.judge.config import Baseline, JudgeConfig, JudgeConfigError, Margin, OnInconclusive, Steps, Thresholds
from canary.core.judge.counters import CounterBook, Deltas, Sample
from canary.core.judge.judge import Decision, SequentialJudge, Verdict
from canary.core.judge.native import Native
from canary.core.judge.samples import Arm, Tick

__all__ = [
    "Arm",
    "Baseline",
    "CounterBook",
    "Decision",
    "Deltas",
    "JudgeConfig",
    "JudgeConfigError",
    "Margin",
    "Native",
    "OnInconclusive",
    "Sample",
    "SequentialJudge",
    "Steps",
    "Thresholds",
    "Tick",
    "Verdict",
]
