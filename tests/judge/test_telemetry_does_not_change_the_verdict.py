"""From scrapes to evidence: restarts of pods and of the operator, duplicates, re-queries and a second Prometheus change no number."""

from __future__ import annotations

import json
import random

from canary.core.judge import CounterBook, Sample, SequentialJudge
from tests.judge.releases import START, Service, config

PODS = {"canary": ("c-0", "c-1"), "primary": ("p-0", "p-1", "p-2")}
BOUNDS = (100.0, 250.0, 500.0)


class _Fleet:
    """Pods that count what they are told to; `disturbed` restarts them now and then."""

    def __init__(self, seed: int, *, disturbed: bool):
        self.random, self.disturbed = random.Random(seed), disturbed
        self.pods = {
            (arm, pod): [{"200": 0, "503": 0}, dict.fromkeys(BOUNDS, 0), START - 1] for arm, names in PODS.items() for pod in names
        }

    def serve(self, now: float, work: dict[tuple[str, str], tuple[int, int, list[int]]], lag: random.Random) -> list[Sample]:
        found = []
        for key, (good, bad, quick) in work.items():
            pod = self.pods[key]
            if self.disturbed and self.random.random() < 0.15:
                pod[:] = [{"200": 0, "503": 0}, dict.fromkeys(BOUNDS, 0), now - 14]
            pod[0] = {"200": pod[0]["200"] + good, "503": pod[0]["503"] + bad}
            pod[1] = {bound: count + more for (bound, count), more in zip(pod[1].items(), quick, strict=True)}
            found.append(Sample(*key, now + lag.random(), dict(pod[0]), dict(pod[1]), started=pod[2], replica="a"))
        return found


def _work(rng: random.Random, weight: int) -> dict[tuple[str, str], tuple[int, int, list[int]]]:
    found = {}
    for arm, names in PODS.items():
        mean = 1500 * (weight if arm == "canary" else 100 - weight) / 100 / len(names)
        for pod in names:
            n = max(0, round(rng.gauss(mean, mean**0.5)))
            bad = sum(rng.random() < (0.008 if arm == "canary" else 0.001) for _ in range(n))
            found[arm, pod] = (n - bad, bad, [round(0.7 * n), round(0.99 * n), n])
    return found


def _run(*, disturbed: bool) -> list[dict]:
    history = Service(1).history()
    fleet, rng, lag, chaos = _Fleet(3, disturbed=disturbed), random.Random(1), random.Random(2), random.Random(4)
    judge, book, weight, found, old = SequentialJudge(config(), history), CounterBook(since=START - 5), 5, [], []
    for step in range(1, 60):
        now = START + 15 * step
        samples = fleet.serve(now, _work(rng, weight), lag)
        if disturbed:
            other = [Sample(one.arm, one.pod, one.ts + 5, one.requests, one.buckets, started=one.started, replica="b") for one in samples]
            batch = samples + samples[:2] + chaos.sample(old, min(5, len(old))) + other
            chaos.shuffle(batch)
            old += samples + other
            book = CounterBook.restore(json.loads(json.dumps(book.state())))
            judge = SequentialJudge.restore(config(), json.loads(json.dumps(judge.state())))
        else:
            batch = samples
        decision = judge.observe(book.update(batch).tick(now, weight))
        found.append({"verdict": decision.verdict, "weight": decision.weight, "reason": decision.reason, "evidence": decision.evidence})
        weight = decision.weight
        if decision.verdict in ("rollback", "promote"):
            break
    return found


def test_a_disturbed_run_reaches_the_same_evidence_at_every_tick():
    clean, disturbed = _run(disturbed=False), _run(disturbed=True)
    assert clean[-1]["verdict"] == "rollback"
    assert len(clean) > 5
    assert disturbed == clean
