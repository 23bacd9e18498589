"""`python -m bench.rings [--seed N] [--mode gate|branch] [--then hold|revert] [--clusters N]`: the fleet of the budget, on one core, and what came of it.

`--real N` does something else: N bare repositories behind a real Git server, each walked through its rings by `canary rings apply`'s own code.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time

from bench.rings.fleet import Scenario
from bench.rings.invariants import Broken
from bench.rings.world import Report, World


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.rings", description="Rings on a virtual clock.")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--mode", choices=("gate", "branch"), default="gate")
    parser.add_argument("--then", choices=("hold", "revert"), default="hold", help="what a halt does to rings; revert needs mode branch")
    parser.add_argument("--clusters", type=int, default=5000, help="how many clusters, about (default: 5000)")
    parser.add_argument("--releases", type=int, default=20)
    parser.add_argument("--real", type=int, default=0, metavar="N", help="instead: N real repositories behind a real server")
    given = parser.parse_args()
    if given.real:
        from bench.rings.real import soak

        return soak(given.real)
    if given.then == "revert" and given.mode == "gate":
        parser.error("--then revert needs --mode branch: in mode gate there are no branches to take back")
    share = given.clusters / 5000
    sizes = tuple(max(2, round(size * share)) for size in (5, 50, 445, 1500, 3000))
    scenario = Scenario(sizes=sizes, releases=given.releases, mode=given.mode, then=given.then, seed=given.seed)
    began = time.process_time()
    try:
        report = World(scenario).finish()
    except Broken as error:
        print(f"broken: {error} (seed {given.seed})", file=sys.stderr)
        return 1
    show(scenario, report, time.process_time() - began)
    return 0


def show(scenario: Scenario, report: Report, seconds: float) -> None:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(
        f"{sum(scenario.sizes)} clusters, {len(scenario.sizes)} rings, {scenario.releases} releases, mode {scenario.mode}, halts {scenario.then}, seed {scenario.seed}"
    )
    print(f"{seconds:.1f} CPU s, {peak} MiB; {report.days:.0f} days, {report.events} events, {report.decisions} decisions")
    print(
        f"{report.pushes} pushes, {report.refused} lost races, {report.backs} ways back, {report.crashes} crashes, {report.forged} forged records, {report.doubts} doubts told"
    )
    print("checks " + ", ".join(f"{name} {count}" for name, count in sorted(report.checks.items())))
    for number, share in scenario.bad:
        name = f"v{number}"
        if number < scenario.releases:
            halted = report.halt_seconds.get(name)
            when = f"halted {halted:.0f} s after its first failure" if halted is not None else "stopped by a ring that did not pass"
            print(f"{name}, bad on {share:.0%}: {report.exposed.get(name, 0)} clusters exposed, {when}")


if __name__ == "__main__":
    sys.exit(main())
