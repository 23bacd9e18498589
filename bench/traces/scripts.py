"""The scripted releases. Each is about one rule; together they visit every branch of the peer's tick that a release can come through.

A script's answers are by tick, and tick 0 is the one that sees the release: a weighted release takes its first step at tick 1 without
asking any metric, and the first analysis is at tick 2.
"""

from collections.abc import Iterator, Sequence

from bench.traces.script import Act, Answer, Answers, Json, Script

SUCCESS: Json = {"name": "request-success-rate", "thresholdRange": {"min": 99}, "interval": "1m"}
DURATION: Json = {"name": "request-duration", "thresholdRange": {"max": 500}, "interval": "30s"}
MATCH: list[Json] = [{"headers": {"x-canary": {"exact": "insider"}}}]
BAD = 50.0
"""A success rate."""
CLOSED, OPEN = 403, 200


def own(name: str, **bound: object) -> Json:
    """An inline query."""
    return {"name": name, "query": f'trace{{run="{{{{ name }}}}",metric="{name}"}}', "interval": "1m", **bound}


def template(name: str, **bound: object) -> Json:
    """A check by the MetricTemplate of the same name."""
    return {"name": name, "templateRef": {"name": name}, "interval": "1m", **bound}


def hook(name: str, kind: str, **more: object) -> Json:
    """A webhook; the recorder gives it its address."""
    return {"name": name, "type": kind, "timeout": "1s", **more}


def weights(*, threshold: int = 3, metrics: Sequence[Json] = (SUCCESS,), hooks: Sequence[Json] = (), **schedule: object) -> Json:
    """A weighted release, 10 to 30 by 10 unless said otherwise."""
    steps = schedule or {"stepWeight": 10, "maxWeight": 30}
    analysis: Json = {"interval": "10s", "threshold": threshold, **steps}
    if metrics:
        analysis["metrics"] = list(metrics)
    if hooks:
        analysis["webhooks"] = list(hooks)
    return analysis


def rates(*values: Answer) -> Answers:
    """Success rates from tick 2 (the first analysis) on; the last one stays."""
    return {"request-success-rate": (100.0, 100.0, *values)}


def later(name: str, *values: Answer) -> Answers:
    """Answers of any source from tick 2 on; the last one stays."""
    return {name: (values[0], values[0], *values)}


def schedules() -> Iterator[Script]:
    """Weights and iterations when all is well."""
    yield Script(name="steps", about="stepWeight 10, maxWeight 30, all is well", analysis=weights(metrics=(SUCCESS, DURATION)))
    yield Script(name="steps-listed", about="stepWeights", analysis=weights(stepWeights=[5, 20, 60]))
    yield Script(name="steps-beyond", about="stepWeights over 100 are cut", analysis=weights(stepWeights=[1, 2, 10, 200]))
    yield Script(name="steps-falling", about="stepWeights that do not rise", analysis=weights(stepWeights=[10, 10, 50]), ticks=9)
    yield Script(name="overshoot", about="maxWeight is no multiple of stepWeight", analysis=weights(stepWeight=20, maxWeight=50))
    yield Script(name="no-maximum", about="no maxWeight, steps that do not fit 100", analysis=weights(stepWeight=40))
    yield Script(name="maximum-zero", about="maxWeight 0", analysis=weights(stepWeight=50, maxWeight=0))
    yield Script(name="one-step", about="stepWeight 100", analysis=weights(stepWeight=100))
    yield Script(name="no-step", about="stepWeight 0", analysis=weights(stepWeight=0), ticks=6)
    promotion = weights(stepWeight=50, maxWeight=50, stepWeightPromotion=20)
    yield Script(name="promotion-by-steps", about="stepWeightPromotion", analysis=promotion)
    promotion = weights(stepWeight=100, maxWeight=100, stepWeightPromotion=50)
    yield Script(name="promotion-by-halves", about="stepWeightPromotion from all of the traffic", analysis=promotion)
    yield Script(name="no-checks", about="neither metrics nor hooks", analysis=weights(metrics=()))
    both = weights(stepWeight=50, match=MATCH)
    yield Script(name="match-and-steps", about="steps inside the matched traffic", analysis=both)


def failing() -> Iterator[Script]:
    """The counter of failed checks."""
    yield Script(name="always-failing", about="every check fails", analysis=weights(), answers=rates(BAD))
    yield Script(name="one-failure", about="one failed check, then all is well", analysis=weights(), answers=rates(100, BAD, 100))
    answers: Answers = rates(BAD, 100, BAD, 100)
    yield Script(name="threshold-reached", about="two failed checks of two, not in a row", analysis=weights(threshold=2), answers=answers)
    yield Script(name="threshold-missed", about="two failed checks of three", analysis=weights(), answers=rates(BAD, BAD, 100))
    flapping = rates(*(BAD, 100) * 6)
    analysis = weights(threshold=4, stepWeight=10, maxWeight=60)
    yield Script(name="flapping", about="every second check fails", analysis=analysis, answers=flapping)
    last = rates(100, 100, BAD, BAD, 100)
    yield Script(name="fails-at-the-end", about="only the last weight is bad, for two ticks", analysis=weights(), answers=last)
    yield Script(name="threshold-zero", about="threshold 0 is 1", analysis=weights(threshold=0), answers=rates(100, BAD))
    yield Script(name="threshold-one", about="threshold 1", analysis=weights(threshold=1), answers=rates(BAD, 100))
    ends = rates(*(BAD,) * 3, 100)
    yield Script(name="recovers-too-late", about="good again when the threshold is reached", analysis=weights(), answers=ends)


def sources() -> Iterator[Script]:
    """Sources that have no number, and numbers that are odd."""
    yield Script(name="no-data-first", about="no data for two ticks", analysis=weights(), answers=rates("empty", "empty", 100))
    yield Script(name="no-data-midway", about="no data in the middle", analysis=weights(), answers=rates(100, "empty", 100))
    yield Script(name="no-data", about="never any data", analysis=weights(), answers=rates("empty"))
    yield Script(name="not-a-number", about="NaN for a tick", analysis=weights(), answers=rates("NaN", 100))
    yield Script(name="infinite", about="a rate of +Inf", analysis=weights(), answers=rates("+Inf"))
    yield Script(name="source-fails", about="the source says 500", analysis=weights(threshold=2), answers=rates("error"))
    yield Script(name="source-silent", about="the source does not answer in time", analysis=weights(), answers=rates("timeout", 100))
    mixed = rates("empty", BAD, "error", 100)
    yield Script(name="one-counter", about="no data, a bad value, an error: one counter", analysis=weights(), answers=mixed)


def bounds() -> Iterator[Script]:
    """Values around bounds of every kind."""
    duration: Answers = {"request-duration": (0, 0, 499.9, 500, 500.9, 501, 100)}
    analysis = weights(metrics=(DURATION,), stepWeight=10, maxWeight=40)
    yield Script(name="latency-at-the-bound", about="around 500 ms, in whole milliseconds", analysis=analysis, answers=duration)
    endless: Answers = {"request-duration": (0, 0, "+Inf", 100)}
    yield Script(name="latency-infinite", about="a duration of +Inf", analysis=weights(metrics=(DURATION,)), answers=endless)
    rate = rates(99, 98.999999, 99.000001, 100)
    yield Script(name="rate-at-the-bound", about="around 99 %", analysis=weights(stepWeight=10, maxWeight=40), answers=rate)
    between = own("between", thresholdRange={"min": 10, "max": 20})
    values = later("between", 10, 20, 9.99, 20.01, 15)
    analysis = weights(metrics=(between,), stepWeight=10, maxWeight=40)
    yield Script(name="range", about="thresholdRange with both ends", analysis=analysis, answers=values)
    old = (SUCCESS | {"thresholdRange": None, "threshold": 99}, DURATION | {"thresholdRange": None, "threshold": 500})
    older = [{key: value for key, value in metric.items() if value is not None} for metric in old]
    values = rates(99, 98.9, 100) | {"request-duration": (0, 0, 500, 0, 501, 0)}
    yield Script(name="older-thresholds", about="built-in checks with threshold", analysis=weights(metrics=older), answers=values)
    values = later("errors", 5, 5.01, 0)
    yield Script(
        name="template", about="a template with threshold", analysis=weights(metrics=(template("errors", threshold=5),)), answers=values
    )
    values = later("errors", 0, 1, -1, "+Inf", 0)
    analysis = weights(metrics=(own("errors"),), threshold=5)
    yield Script(name="no-bound", about="an inline check without a bound", analysis=analysis, answers=values)
    empty = own("errors", thresholdRange={}, threshold=1)
    yield Script(
        name="empty-range", about="an empty range hides the threshold", analysis=weights(metrics=(empty,)), answers=later("errors", 9)
    )


def many() -> Iterator[Script]:
    """Several checks: which are asked, in which order, and what counts."""
    three = (SUCCESS, DURATION, own("errors", thresholdRange={"max": 1}))
    values = rates(100) | {"request-duration": (0, 0, 0, 900, 100)}
    yield Script(name="second-of-three", about="the second of three fails once", analysis=weights(metrics=three), answers=values)
    values = rates(100, BAD, 100) | {"request-duration": (0, 0, 0, 900, 100), "errors": (0, 0, 0, 2, 0)}
    yield Script(name="all-of-three", about="all three fail at once: one failed check", analysis=weights(metrics=three), answers=values)
    order = (template("first", thresholdRange={"max": 1}), SUCCESS, own("second", thresholdRange={"max": 1}))
    values = rates(100, 100, BAD, 100) | later("first", 0, 2, 2, 0) | later("second", 0, 0, 0)
    yield Script(
        name="templates-last", about="templates come after built-in and inline checks", analysis=weights(metrics=order), answers=values
    )
    twice = own("both", thresholdRange={"max": 1}) | {"templateRef": {"name": "both"}}
    yield Script(name="query-and-template", about="one check with both", analysis=weights(metrics=(twice,)), answers=later("both", 0, 2, 0))
    nothing = {"name": "nothing", "thresholdRange": {"max": 1}, "interval": "1m"}
    yield Script(name="nothing-to-ask", about="neither built in nor query nor template", analysis=weights(metrics=(SUCCESS, nothing)))
    absent = template("absent", thresholdRange={"max": 1})
    yield Script(name="template-missing", about="a template that does not exist", analysis=weights(metrics=(absent,), threshold=2))


def gates() -> Iterator[Script]:
    """Gates that are closed for a while."""
    go = hook("go", "confirm-rollout")
    closed: Answers = {"go": (CLOSED, CLOSED, CLOSED, OPEN)}
    yield Script(name="gate-rollout", about="closed for three ticks", analysis=weights(hooks=(go,)), answers=closed)
    two = (go, hook("also", "confirm-rollout"))
    answers: Answers = {"go": (CLOSED, OPEN), "also": (OPEN, CLOSED, OPEN)}
    yield Script(
        name="gates-in-order", about="two gates; the first refusal spares the second", analysis=weights(hooks=two), answers=answers
    )
    traffic = hook("more", "confirm-traffic-increase")
    answers = {"more": (OPEN, CLOSED, CLOSED, OPEN)}
    yield Script(name="gate-first-step", about="closed before the first step", analysis=weights(hooks=(traffic,)), answers=answers)
    answers = {"more": (OPEN, OPEN, OPEN, CLOSED, CLOSED, OPEN)}
    yield Script(name="gate-traffic", about="closed in the middle", analysis=weights(hooks=(traffic,)), answers=answers)
    answers = {"more": (OPEN,) * 4 + (CLOSED, CLOSED, OPEN)}
    yield Script(name="gate-traffic-last", about="closed before the promotion", analysis=weights(hooks=(traffic,)), answers=answers)
    promote = hook("promote", "confirm-promotion")
    answers = {"promote": (CLOSED,) * 7 + (OPEN,)}
    yield Script(name="gate-promotion", about="closed for three ticks", analysis=weights(hooks=(promote,)), answers=answers)
    bad = answers | rates(*(100,) * 3, BAD, BAD, BAD)
    yield Script(name="fails-while-waiting", about="bad while it waits for promotion", analysis=weights(hooks=(promote,)), answers=bad)
    pair = (traffic, promote)
    answers = {"promote": (CLOSED,) * 7 + (OPEN,), "more": (OPEN,) * 5 + (CLOSED,)}
    yield Script(name="gates-both", about="the traffic gate is not asked while waiting", analysis=weights(hooks=pair), answers=answers)


def rollbacks() -> Iterator[Script]:
    """Hooks that wish a release back."""
    back = hook("back", "rollback")
    answers: Answers = {"back": (CLOSED,) * 3 + (OPEN,)}
    yield Script(name="rollback", about="signalled at tick 3", analysis=weights(hooks=(back,)), answers=answers)
    promote = hook("promote", "confirm-promotion")
    answers = {"back": (CLOSED,) * 6 + (OPEN,), "promote": (CLOSED,)}
    yield Script(name="rollback-waiting", about="while it waits for promotion", analysis=weights(hooks=(back, promote)), answers=answers)
    go = hook("go", "confirm-rollout")
    answers = {"go": (CLOSED,) * 4 + (OPEN,), "back": (CLOSED, CLOSED, OPEN)}
    yield Script(
        name="rollback-before-approval", about="while it waits to be accepted", analysis=weights(hooks=(go, back)), answers=answers
    )
    answers = {"back": (CLOSED, CLOSED, OPEN)}
    analysis = weights(hooks=(back,))
    act = Act(after=4, ready=True)
    yield Script(
        name="rollback-unready", about="while the new pods are not ready", analysis=analysis, answers=answers, unready=True, acts=[act]
    )


def hooks() -> Iterator[Script]:
    """Hooks that test."""
    smoke = hook("smoke", "pre-rollout")
    answers: Answers = {"smoke": (OPEN, 500, 500, OPEN)}
    yield Script(name="pre-rollout", about="fails twice", analysis=weights(hooks=(smoke,)), answers=answers)
    yield Script(name="pre-rollout-fails", about="fails always", analysis=weights(hooks=(smoke,)), answers={"smoke": (500,)})
    load, more = hook("load", "rollout"), hook("more", "")
    del more["type"]
    answers = later("load", OPEN, 500, OPEN) | rates(100, 100, BAD, 100)
    yield Script(
        name="rollout", about="the first of two fails once: nothing else is asked", analysis=weights(hooks=(load, more)), answers=answers
    )
    yield Script(name="rollout-fails", about="fails always", analysis=weights(hooks=(load,)), answers=later("load", 500))
    yield Script(
        name="rollout-silent", about="no answer for a tick", analysis=weights(hooks=(load,)), answers=later("load", "timeout", OPEN)
    )
    codes = later("load", 202, 204, 201, 403, 200)
    analysis = weights(hooks=(load,), stepWeight=10, maxWeight=40)
    yield Script(name="rollout-codes", about="which answers count as success", analysis=analysis, answers=codes)
    after = (hook("after", "post-rollout"), hook("also", "post-rollout"))
    yield Script(name="post-rollout", about="both are called", analysis=weights(hooks=after))
    answers = rates(BAD) | {"after": (500,)}
    yield Script(name="post-rollout-fails", about="after a failed run, the first refuses", analysis=weights(hooks=after), answers=answers)
    kinds = ("confirm-rollout", "pre-rollout", "rollout", "confirm-traffic-increase", "confirm-promotion", "post-rollout")
    whole = [hook(f"on-{kind}", kind) for kind in kinds] + [hook("on-rollback", "rollback")]
    answers = {"on-rollback": (CLOSED,)}
    yield Script(name="all-hooks", about="every kind once, all is well", analysis=weights(hooks=whole, metrics=(SUCCESS,)), answers=answers)


def counting() -> Iterator[Script]:
    """Iterations instead of weights."""
    promote = hook("promote", "confirm-promotion")
    yield Script(name="ab", about="A/B, two iterations", analysis=weights(iterations=2, match=MATCH))
    yield Script(name="ab-fails", about="A/B, bad", analysis=weights(iterations=3, match=MATCH), answers=rates(100, BAD))
    closed: Answers = {"promote": (CLOSED,) * 6 + (OPEN,)}
    yield Script(name="ab-gate", about="A/B, gate closed", analysis=weights(iterations=2, match=MATCH, hooks=(promote,)), answers=closed)
    yield Script(name="ab-istio", about="A/B, two iterations", provider="istio", analysis=weights(iterations=2, match=MATCH))
    yield Script(name="bluegreen", about="blue/green, two iterations", analysis=weights(iterations=2))
    yield Script(name="bluegreen-fails", about="blue/green, bad", analysis=weights(iterations=5, threshold=2), answers=rates(100, BAD))
    after = rates(100, 100, BAD, 100)
    yield Script(name="bluegreen-late", about="blue/green, bad after the cut-over", analysis=weights(iterations=2), answers=after)
    gate = weights(iterations=2, hooks=(promote,))
    yield Script(name="bluegreen-gate", about="blue/green, gate closed, asked twice", analysis=gate, answers=closed)
    again: Answers = {"promote": (OPEN, OPEN, OPEN, OPEN, CLOSED, CLOSED, OPEN)}
    yield Script(name="bluegreen-gate-between", about="open for the cut-over, closed after it", analysis=gate, answers=again)
    mirrored = weights(iterations=2, mirror=True)
    yield Script(name="bluegreen-mirror", about="blue/green, mirrored", provider="istio", analysis=mirrored)
    yield Script(name="bluegreen-mirror-contour", about="blue/green, mirror where there is none", analysis=mirrored)
    yield Script(name="mirror", about="mirror, then steps", provider="istio", analysis=weights(mirror=True, stepWeight=10, maxWeight=20))
    yield Script(
        name="mirror-contour", about="mirror, then steps, where there is none", analysis=weights(mirror=True, stepWeight=50), ticks=7
    )
    plain = weights(iterations=2, metrics=(SUCCESS, DURATION))
    yield Script(name="no-mesh", about="blue/green without a mesh", provider="kubernetes", analysis=plain)
    yield Script(
        name="no-mesh-fails", about="bad, without a mesh", provider="kubernetes", analysis=weights(iterations=3), answers=rates(BAD)
    )
    yield Script(
        name="no-mesh-steps", about="steps without a mesh become ten iterations", provider="kubernetes", analysis=weights(stepWeight=50)
    )
    matched = weights(iterations=2, match=MATCH)
    yield Script(name="no-mesh-match", about="a match without a mesh is ignored", provider="kubernetes", analysis=matched)
    yield Script(name="no-mesh-gate", about="gate closed, without a mesh", provider="kubernetes", analysis=gate, answers=closed)


def revisions() -> Iterator[Script]:
    """Releases that change under way."""
    third = Act(after=2, image="app:3")
    yield Script(name="newer", about="a newer revision in the middle", analysis=weights(), acts=[third])
    answers: Answers = rates(BAD, BAD, BAD, 100)
    yield Script(
        name="newer-forgets",
        about="a newer revision starts with no failed check",
        analysis=weights(),
        acts=[Act(after=3, image="app:3")],
        answers=answers,
    )
    yield Script(name="newer-ab", about="a newer revision in an A/B test", analysis=weights(iterations=3, match=MATCH), acts=[third])
    promoting = Act(after=4, image="app:3")
    yield Script(name="newer-while-promoting", about="a newer revision while the last is promoted", analysis=weights(), acts=[promoting])
    yield Script(
        name="back", about="back at the promoted revision in the middle", analysis=weights(), acts=[Act(after=2, image="app:1")], ticks=16
    )
    go = hook("go", "confirm-rollout")
    closed: Answers = {"go": (CLOSED,) * 4 + (OPEN,)}
    waiting = weights(hooks=(go,))
    yield Script(
        name="newer-while-waiting",
        about="a newer revision waits at the same gate",
        analysis=waiting,
        acts=[Act(after=1, image="app:3")],
        answers=closed,
    )
    yield Script(name="withdrawn", about="taken back while it waits", analysis=waiting, acts=[Act(after=1, image="app:1")], answers=closed)
    bad = rates(*(BAD,) * 3, 100)
    yield Script(
        name="better-after-failed", about="failed, then a better one", analysis=weights(), acts=[Act(after=6, image="app:3")], answers=bad
    )
    acts = [Act(after=4, image="app:1"), Act(after=6, image="app:2")]
    answers = rates(BAD, 100)
    yield Script(name="bad-again", about="failed, back, and the bad one again", analysis=weights(threshold=1), acts=acts, answers=answers)


def edits() -> Iterator[Script]:
    """The spec changes under way, or is one that skips the analysis."""
    waiting = weights(hooks=(hook("go", "confirm-rollout"),))
    closed: Answers = {"go": (CLOSED,) * 4 + (OPEN,)}
    acts = [Act(after=2, spec={"suspend": True}), Act(after=4, spec={"suspend": False})]
    yield Script(name="suspended", about="suspended for two ticks", analysis=weights(), acts=acts)
    yield Script(name="skipped", about="skipAnalysis", analysis=weights(hooks=(hook("load", "rollout"),)), spec={"skipAnalysis": True})
    yield Script(name="skipped-gate", about="skipAnalysis behind a gate", analysis=waiting, spec={"skipAnalysis": True}, answers=closed)
    acts = [Act(after=2, spec={"skipAnalysis": True})]
    yield Script(name="skipped-midway", about="skipAnalysis from the middle on", analysis=weights(), acts=acts)
    acts = [Act(after=2, spec={"analysis": {"threshold": 1}})]
    yield Script(name="stricter", about="a lower threshold in the middle", analysis=weights(), acts=acts, answers=rates(BAD, 100))
    acts = [Act(after=2, spec={"analysis": {"stepWeight": 30, "maxWeight": 80}})]
    yield Script(name="faster", about="greater steps from the middle on", analysis=weights(), acts=acts)


def others() -> Iterator[Script]:
    """What comes from elsewhere: hands on the weights, pods that are late."""
    yield Script(
        name="edited-weights",
        about="somebody moves traffic by hand",
        analysis=weights(stepWeight=10, maxWeight=50),
        acts=[Act(after=2, weight=35)],
    )
    yield Script(
        name="late-target",
        about="the new pods become ready after two ticks",
        analysis=weights(),
        unready=True,
        acts=[Act(after=2, ready=True)],
    )
    yield Script(name="stuck-target", about="the new pods never become ready", analysis=weights(), unready=True, deadline=25, ticks=12)


def all_scripts() -> list[Script]:
    """Every script, in the order of the trace."""
    groups = (schedules, failing, sources, bounds, many, gates, rollbacks, hooks, counting, revisions, edits, others)
    return [script for group in groups for script in group()]
