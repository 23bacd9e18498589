"""The simulated kinds of release, by name."""

from bench.judge.world import COARSE, FINE, ISTIO, SPARSE, Scenario

USERS: dict[str, object] = {"maxExcessPerHour": 60}
ALWAYS = (-1e9, 1e9, 0.05)
FROM_START = (0.0, 1e9, 0.05)
QUARTER = (60.0, 960.0, 0.05)
LAYOUTS = {"istio": ISTIO, "sparse": SPARSE, "fine": FINE}
SHAPES = {"quick": (12.0, 0.9), "slow": (450.0, 0.6)}


def _healthy() -> list[Scenario]:
    found = [
        Scenario(f"healthy {base:.1%} {rate:g} rps", rate, base=base, spec=USERS if rate <= 1 else {})
        for base in (0.0, 0.001, 0.008)
        for rate in (0.1, 1, 10, 100, 1000)
    ]
    found += [Scenario(f"at margin {rate:g} rps", rate, canary=0.003) for rate in (10, 100, 1000)]
    for size in (10, 50):
        for rate in (10, 100, 1000):
            found += [Scenario(f"bursts of {size}, {base:.1%}, {rate:g} rps", rate, base=base, burst=size) for base in (0.001, 0.005)]
        found += [Scenario(f"bursts of {size}, at margin, {rate:g} rps", rate, canary=0.003, burst=size) for rate in (100, 1000)]
    return [*found, *(Scenario(f"cold start {rate:g} rps", rate, cold=(30.0, 0.1)) for rate in (10, 100, 1000))]


def _outages() -> list[Scenario]:
    found = []
    for rate in (0.1, 1, 10, 100, 1000):
        spec = USERS if rate <= 1 else {}
        found += [
            Scenario(f"outage, long before, {rate:g} rps", rate, outage=ALWAYS, spec=spec),
            Scenario(f"outage, from the start, {rate:g} rps", rate, outage=FROM_START, spec=spec),
            Scenario(f"outage, minutes 1-16, skewed, {rate:g} rps", rate, outage=QUARTER, skew=True, spec=spec),
        ]
    return [
        *found,
        Scenario("10 % in an outage of 5 %, long before", 100, outage=ALWAYS, extra=0.05),
        Scenario("10 % in an outage of 5 %, from the start", 100, outage=FROM_START, extra=0.05),
    ]


def _faults() -> list[Scenario]:
    found = [Scenario(f"fails 20 % {rate:g} rps", rate, canary=0.2) for rate in (0.1, 1, 10, 100, 1000)]
    found += [Scenario(f"fails 2 % {rate:g} rps", rate, canary=0.02) for rate in (0.1, 1, 10, 100, 1000)]
    found += [Scenario(f"fails 0.5 % {rate:g} rps", rate, canary=0.005) for rate in (10, 100, 1000)]
    found += [Scenario(f"P99 x1.3 {rate:g} rps", rate, slow=1.3) for rate in (1, 10, 100)]
    found += [Scenario(f"P99 x2 {rate:g} rps", rate, slow=2.0) for rate in (1, 100)]
    return [*found, Scenario("fails 5 % from 30 % weight", 100, canary=0.05, from_weight=30)]


def _telemetry() -> list[Scenario]:
    found = []
    for rate in (10, 100):
        found += [
            Scenario(f"scrapes lost 30 % {rate:g} rps", rate, lost=0.3),
            Scenario(f"no data for 20 min {rate:g} rps", rate, silence=(60.0, 1260.0)),
        ]
    found += [Scenario("scrapes lost 30 %, fails 2 %", 100, canary=0.02, lost=0.3), Scenario("no data at all", 100, silence=(0.0, 1e9))]
    return [*found, *(Scenario(f"half its share seen {rate:g} rps", rate, answered=0.5) for rate in (10, 100, 1000))]


def _robust() -> list[Scenario]:
    found = []
    for spacing in (5.0, 60.0):
        found += [
            Scenario(f"every {spacing:g} s: healthy", 100, spacing=spacing),
            Scenario(f"every {spacing:g} s: fails 2 %", 100, canary=0.02, spacing=spacing),
            Scenario(f"every {spacing:g} s: P99 x2", 100, slow=2.0, spacing=spacing),
            Scenario(f"every {spacing:g} s: outage", 100, outage=QUARTER, skew=True, spacing=spacing),
        ]
    for name, bounds in LAYOUTS.items():
        found += [
            Scenario(f"buckets {name}: healthy", 100, bounds=bounds),
            Scenario(f"buckets {name}: P99 x2", 100, bounds=bounds, slow=2.0),
        ]
    for name, shape in SHAPES.items():
        found += [
            Scenario(f"latency {name}: healthy", 100, bounds=ISTIO, shape=shape),
            Scenario(f"latency {name}: P99 x2", 100, bounds=ISTIO, shape=shape, slow=2.0),
        ]
    found += [Scenario(f"traffic swings by half {rate:g} rps", rate, swing=0.5) for rate in (10, 100)]
    found += [Scenario("no history: healthy", 100, past=False), Scenario("no history: fails 2 %", 100, canary=0.02, past=False)]
    return found


CELLS = {cell.name: cell for cell in (*_healthy(), *_outages(), *_faults(), *_telemetry(), *_robust())}
assert CELLS["fails 2 % 100 rps"].bounds == COARSE
