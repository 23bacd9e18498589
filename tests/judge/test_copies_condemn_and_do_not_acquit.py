"""Mirrored traffic: outcomes come in pairs (one request, both versions), of which proxies tell the totals only.

The bets are those for independent arms. With k_C and k_B of opposite signs, as they always are, a pair multiplies the stake by
(1 + (pi_C - q) k_C)(1 + (pi_B - p) k_B) + k_C k_B cov on average, so that outcomes which go together make it smaller.
"""

import itertools
import json
import math
import random

import pytest

from canary.core.judge import Arm, SequentialJudge, Tick
from canary.core.judge.evalue import Counts, ratio_only, two_arms
from canary.core.judge.srm import TOLERANCE, SampleRatio
from tests.judge.releases import START, Service, begun, config

BUCKETS = (100, 250, 500, math.inf)


def pair(canary, primary, together):
    """The chances of (canary fails, primary fails): `together` of the largest covariance that these rates allow (0: independent)."""
    both = canary * primary + together * (min(canary, primary) - canary * primary)
    return {(1, 1): both, (1, 0): canary - both, (0, 1): primary - both, (0, 0): 1 - canary - primary + both}


def expected(bet, pairs, copied, chances):
    """The mean of e over all outcomes of so many pairs and `copied` of them copied, exactly."""
    laws = [chances] * copied + [{(0, y): sum(p for (_, b), p in chances.items() if b == y) for y in (0, 1)}] * (pairs - copied)
    totals = {(0, 0): 1.0}
    for law in laws:
        grown = {}
        for ((x, y), p), ((a, b), q) in itertools.product(totals.items(), law.items()):
            grown[x + a, y + b] = grown.get((x + a, y + b), 0.0) + p * q
        totals = grown
    return sum(p * math.exp(bet(Counts(copied, x, pairs, y))) for (x, y), p in totals.items())


@pytest.mark.parametrize("against", [True, False])
def test_bets_on_copies_are_fair_and_the_fairer_the_more_outcomes_go_together(against):
    chosen = random.Random(3)
    for _ in range(120):
        ratio, margin = chosen.choice([1.0, 1.25, 2.0]), chosen.choice([0.002, 0.02, 0.1])
        rate = chosen.uniform(0.001, 0.4)
        border = ratio * rate + margin
        guess = chosen.uniform(0.001, 0.4)
        line = ratio * guess + margin
        alternative = chosen.uniform(line, 1) if against else chosen.uniform(0.0005, line)
        if not (0 < border < 1 and 0 < line < 1 and 0 < alternative < 1):
            continue
        # the null: on the border, or on its tolerable side
        true = border * chosen.uniform(0.3, 1) if against else border + (1 - border) * chosen.uniform(0, 0.5)
        pairs = chosen.randint(1, 12)
        copied = chosen.randint(1, pairs)
        bet = lambda seen, a=alternative, g=guess, r=ratio, m=margin: two_arms(seen, a, g, ratio=r, margin=m)  # noqa: E731
        for canary in (true, border):
            means = [expected(bet, pairs, copied, pair(canary, rate, together)) for together in (0.0, 0.5, 1.0)]
            assert means[0] <= 1 + 1e-9
            assert means[2] <= means[1] + 1e-12
            assert means[1] <= means[0] + 1e-12


def test_outcomes_that_go_against_each_other_are_what_the_bets_do_not_cover():
    """Said in the documentation: where a request and its copy fight over one record, one of them fails."""
    bet = lambda seen: two_arms(seen, 0.5, 0.3, ratio=1.0, margin=0.002)  # noqa: E731
    either = {(1, 0): 0.402, (0, 1): 0.4, (0, 0): 0.198}
    assert expected(bet, 8, 8, either) > 1


@pytest.mark.parametrize("alternative", [3.0, 1.0])
def test_bets_on_a_ratio_are_fair_for_copies_too(alternative):
    limit, rate = 1.5, 0.1
    for pairs, copied, together in itertools.product((3, 9), (1, 3), (0.0, 0.6, 1.0)):
        bet = lambda seen: ratio_only(seen, alternative, limit=limit)  # noqa: E731
        assert expected(bet, pairs, copied, pair(limit * rate, rate, together)) <= 1 + 1e-9


@pytest.mark.parametrize("copied", [5, 20, 60, 100])
def test_bets_on_the_share_of_copies_are_fair_at_every_border(copied):
    """Each request is copied with a probability of its own, so that requests and copies are no split of a whole."""
    wanted = copied / (100 + copied)
    for border in (wanted * (1 - TOLERANCE), wanted * (1 + TOLERANCE)):
        chance = min(1.0, border / (1 - border))
        for n in (1, 5, 30):
            low = high = 0.0
            for c in range(n + 1):
                p = math.comb(n, c) * chance**c * (1 - chance) ** (n - c)
                shares = SampleRatio(20)
                shares.observe(1, 1, weight=100 * wanted, share=0.01)  # the first tick only aligns
                before = shares.value
                shares.observe(c, n, weight=100 * wanted, share=0.01)
                shares.interrupt(100 * wanted)  # also where none was copied, which waits for the next tick otherwise
                if border < wanted:
                    low += p * shares._low.value
                else:
                    high += p * shares._high.value
                assert before == 1.0
            assert max(low, high) <= 1 + 1e-9


class Mirror(Service):
    """`together`: how often a copy that could go as its request does so (1: whenever rates allow). `torn`: the part of copies that the next scrape tells."""

    def __init__(self, seed, *, together=0.0, copied=100, torn=0.0, lost=0.0, **more):
        super().__init__(seed, **more)
        self.together, self.copied, self.torn, self.lost = together, copied, torn, lost
        self._late = (0, 0)

    def mirrored(self):
        self.now += self.spacing
        n = self.some(self.rate * self.spacing)
        chances = pair(self.canary, self.primary, self.together)
        copies = self.among(n, self.copied / 100 * (1 - self.lost))
        both = self.among(copies, chances[1, 1])
        alone = self.among(copies - both, chances[1, 0] / (1 - chances[1, 1]))
        theirs = both + self.among(n - both - alone, chances[0, 1] / (1 - chances[1, 1] - chances[1, 0]))
        primary = self._timed(n, theirs, self.slow)
        late = self.among(copies, self.torn)
        bad = self.among(both + alone, self.torn)
        seen, failed = copies - late + self._late[0], both + alone - bad + self._late[1]
        self._late = (late, bad)
        return Tick(self.now, self._timed(seen, min(seen, failed), self.canary_slow), primary, 0, copied=self.copied)

    def _timed(self, n, bad, slow):
        late = self.among(n, slow)
        return Arm(n, bad, {100: n - late - self.among(n - late, 0.3), 250: n - late, 500: n, 1000: n, math.inf: n})


def copies(service, ticks=240, **changes):
    """Decisions on copies until a roll-back, or until all ticks are over; the judge keeps on being shown copies."""
    judge = begun(config(**changes), service)
    found = []
    for _ in range(ticks):
        found.append(judge.observe(service.mirrored()))
        if found[-1].verdict == "rollback":
            break
    return judge, found


@pytest.mark.slow
@pytest.mark.parametrize("together", [0.0, 1.0])
@pytest.mark.parametrize("torn", [0.0, 0.3])
def test_versions_at_the_margin_are_hardly_ever_rolled_back_on_copies(together, torn):
    """The worst tolerable case: on the border, with strong correlation, and with pairs torn apart by scrapes. alpha is 1 %.

    Ten minutes each. What is between no correlation and the strongest lies between them exactly, as shown above.
    """
    runs = 150
    back = 0
    for seed in range(runs):
        service = Mirror(seed, primary=0.01, canary=0.012, together=together, torn=torn, spacing=30.0)
        back += copies(service, ticks=20, thresholds={})[1][-1].verdict == "rollback"
    assert back <= 3, "P(X > 3) < 7 % at 1 %"


def test_a_bad_version_is_rolled_back_on_copies_and_nobody_was_affected():
    for seed in range(3):
        _, found = copies(Mirror(seed, canary=0.05, together=1.0), thresholds={})
        assert found[-1].verdict == "rollback"
        assert len(found) <= 6
        assert "on copies of requests" in found[-1].reason
        assert "No user was affected" in found[-1].reason


def test_a_slow_version_is_rolled_back_on_copies():
    _, found = copies(Mirror(1, canary_slow=0.2))
    assert found[-1].verdict == "rollback"
    assert "took longer" in found[-1].reason


def test_copies_end_with_health_and_the_weight_begins_as_if_nothing_were_known():
    service = Mirror(1, rate=1000.0)
    judge, found = copies(service, ticks=30)
    first = next(at for at, one in enumerate(found) if one.weight)
    assert 4 <= first <= 10, "an interval of a minute at least"
    assert {one.verdict for one in found} == {"continue"}
    assert found[first].weight == SequentialJudge(config(), Mirror(1, rate=1000.0).history()).weight
    assert judge.observe(service.tick(found[-1].weight)).evidence["errorRate"]["canaryRequests"] == 0


def test_copies_promote_nobody_however_long_they_last():
    _, found = copies(Mirror(1, rate=500.0), ticks=260, onInconclusive="promote")
    assert {one.verdict for one in found} == {"continue", "inconclusive"}
    assert "no traffic of its own" in found[-1].reason


def test_health_from_copies_is_gone_and_evidence_against_stays():
    service = Mirror(5, rate=100.0)
    judge, found = copies(service, ticks=20)
    assert found[-1].evidence["errorRate"]["pass"] >= 20
    against = found[-1].evidence["errorRate"]["fail"]
    after = judge.observe(Tick(service.now + 15, Arm(0, 0), Arm(1000, 1), 1))
    assert after.evidence["errorRate"]["pass"] == 1
    assert after.evidence["errorRate"]["upper"] == 1
    assert after.evidence["errorRate"]["fail"] == pytest.approx(against)


def test_what_copies_cost_is_no_slowness_of_the_version():
    """A service that answers in half a millisecond, and copies that take one more. Users of it are compared at any bound."""
    judge, now = SequentialJudge(config(thresholds={}), [Tick(START + 15 * at, None, quick(0.1), 0) for at in range(240)]), START + 3600
    for at in range(40):
        decision = judge.observe(Tick(now + 15 * at, quick(0.7), quick(0.1), 0, copied=100))
        assert decision.evidence["latency"]["fail"] <= 1.0
    assert decision.verdict == "continue"
    for at in range(40, 60):
        decision = judge.observe(Tick(now + 15 * at, quick(0.7), quick(0.1), 50))
    assert decision.verdict == "rollback"


def quick(late):
    """A thousand requests, of which this part took half a millisecond to one, and none longer."""
    return Arm(1000, 0, {0.5: round(1000 * (1 - late)), 1.0: 1000, 5.0: 1000, 10.0: 1000, math.inf: 1000})


def shown(judge, service):
    """Ticks at 50 % until users have shown that the error rate is tolerable."""
    return next(tick for tick in range(1, 400) if judge.observe(service.tick(50)).evidence["errorRate"]["pass"] >= 20)


def test_users_show_health_as_soon_after_copies_as_without_them():
    after = plain = 0
    for seed in range(4):
        service = Mirror(seed, rate=100.0)
        after += shown(copies(service, ticks=20)[0], service)
        service = Mirror(seed, rate=100.0)
        plain += shown(SequentialJudge(config(), service.history()), service)
    assert after <= 1.2 * plain


@pytest.mark.parametrize("copied", [100, 30])
def test_lost_copies_are_noticed_and_right_ones_are_not_doubted(copied):
    _, right = copies(Mirror(2, copied=copied), ticks=100)
    assert max(one.evidence["sampleRatio"]["fail"] for one in right) < 20
    _, lost = copies(Mirror(2, copied=copied, lost=0.5), ticks=100)
    assert lost[-1].verdict == "hold"
    assert f"copies of {copied} % of the requests promise" in lost[-1].reason


def test_state_is_small_and_goes_on_bit_for_bit_at_every_tick():
    service, other = Mirror(7), None
    ticks = [service.mirrored() for _ in range(12)] + [service.tick(5) for _ in range(12)]
    judge = SequentialJudge(config(), service.history())
    for tick in ticks:
        state = json.dumps(judge.state())
        assert len(json.dumps(judge.state(), separators=(",", ":"))) <= 4096
        other = SequentialJudge.restore(config(), json.loads(state))
        assert other.observe(tick) == judge.observe(tick)
        assert other.state() == judge.state()


def test_copies_are_no_traffic_and_a_plain_run_knows_nothing_of_them():
    service = Mirror(1, rate=100.0)
    judge, _ = copies(service, ticks=20)
    assert judge._pace.traffic == pytest.approx(100, rel=0.1)
    assert len(SequentialJudge(config()).state()["run"]) == 3
    assert Tick(START, None, None, 30).part == 30
    assert Tick(START, None, None, 0, copied=40).part == pytest.approx(28.57, abs=0.01)
