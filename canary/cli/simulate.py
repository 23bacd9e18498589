"""`canary simulate`: many releases of a service like yours under the manifest's rules, before the first one is made."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from canary.cli.forecasting import Manifest, Progress, manifest_option, read_manifest, set_option

if TYPE_CHECKING:
    from canary.api.analysis import Analysis
    from canary.core.forecast.service import Fault, Service
    from canary.core.forecast.summary import Summary


@click.command()
@manifest_option
@click.option("--traffic", required=True, metavar="RATE", help="Requests a second of both versions: 50, 50/s, 3000/m or 10/h.")
@click.option("--error-rate", default="0.1%", show_default=True, metavar="PERCENT", help="Requests that fail on the version that runs now.")
@click.option(
    "--latency",
    default="p50=80ms,p99=256ms",
    show_default=True,
    metavar="LIST",
    help="Two or more percentiles of the version that runs now.",
)
@click.option(
    "--buckets", default="", metavar="LIST", help="Bounds of the histogram in milliseconds, by comma. [default: those of Istio and Envoy]"
)
@click.option("--scrape", default="15s", show_default=True, metavar="DURATION", help="Time between two scrapes.")
@click.option("--burst", default=1.0, show_default=True, type=click.FloatRange(1, 10000), help="How many failures come as one, on average.")
@click.option(
    "--fault", "faults", multiple=True, metavar="FAULT",
    help="What a bad version does: errors=2%, errors=+0.5% (more than now), latency=1.3x; may be repeated, and joined by a comma. [default: five usual ones]",
)  # fmt: skip
@click.option(
    "--young", default="", metavar="FAULT",
    help="What every version does worse while its pods are young, in the same words: latency=2x, and errors=+0.5% joined by a comma.",
)  # fmt: skip
@click.option("--young-for", default="5m", show_default=True, metavar="DURATION", help="How long pods are young.")
@set_option
@click.option("--compare", is_flag=True, help="Also under the other judges: threshold, guarded, sequential.")
@click.option("--runs", default=100, show_default=True, type=click.IntRange(1, 100000), help="Releases per fault and judge.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="The same seed gives the same releases.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def simulate(*, manifest: Any, settings: Sequence[str], as_json: bool, **flags: Any) -> None:
    """Simulate releases of a service like yours: what would be rolled back, when, and who would be harmed until then.

    Nothing is asked and nothing is changed. The judge and the checks are the operator's own; requests are drawn at random. Hooks, gates and checks of
    other sources are taken to agree. Without --manifest the analysis is a usual one: 99 % success, P99 of 500 ms, five failed checks, up to 50 % in
    steps of 5 a minute. With mirrored traffic a release begins with copies of requests, which harm nobody. What --young says is
    true of the canary and of a fresh baseline, and of the primary no more.
    """
    from canary.core.forecast.advice import advise
    from canary.core.forecast.counted import require_weights

    found = read_manifest(manifest, settings)
    analysis = found.canary.spec.analysis
    require_weights(analysis)
    service, faults = _service(flags), _faults(flags["faults"])
    results = _simulated(analysis, service, faults, compare=flags["compare"], runs=flags["runs"], seed=flags["seed"])
    advice = advise(analysis, service, faults, results)
    if as_json:
        data = {judge: {fault: one.to_dict() for fault, one in by_fault.items()} for judge, by_fault in results.items()}
        said = [{"about": one.about, "text": one.text} for one in advice]
        about = _described(found, service, seed=flags["seed"])
        click.echo(json.dumps({**about, "judges": data, "advice": said, "ignored": _ignored(found)}, indent=1))
        return
    _show(found, service, results, flags["runs"])
    for one in advice:
        click.echo(f"- {one.text}")


def _service(flags: dict[str, Any]) -> Service:
    from canary.core.forecast import service as words

    return words.Service(
        traffic=words.traffic(flags["traffic"]),
        errors=words.share(flags["error_rate"], "--error-rate"),
        latency=words.latency(flags["latency"]),
        bounds=_bounds(flags["buckets"]) or words.ISTIO,
        spacing=_seconds("--scrape", flags["scrape"], most=600),
        burst=flags["burst"],
        young=words.parse_fault(flags["young"]) if flags["young"] else None,
        young_for=_seconds("--young-for", flags["young_for"], most=86400) if flags["young"] else 0.0,
    )


def _bounds(text: str) -> tuple[float, ...]:
    try:
        found = tuple(float(part) for part in text.split(",") if part.strip())
    except ValueError as error:
        raise click.UsageError(f"--buckets {text!r} is no list of milliseconds, such as 50,100,250") from error
    if any(bound <= 0 for bound in found) or list(found) != sorted(set(found)):
        raise click.UsageError(f"--buckets {text!r} must rise from above 0")
    return found


def _seconds(name: str, text: str, *, most: float) -> float:
    from canary.api.common import parse_duration

    try:
        found = parse_duration(text)
    except ValueError as error:
        raise click.UsageError(f"{name}: {error}") from error
    if not 1 <= found <= most:
        raise click.UsageError(f"{name} {text!r} must lie between 1s and {most / 60:g}m")
    return found


def _faults(texts: Sequence[str]) -> list[Fault]:
    from canary.core.forecast.service import HEALTHY, USUAL_FAULTS, parse_fault

    return [HEALTHY, *(parse_fault(text) for text in dict.fromkeys(texts or USUAL_FAULTS))]


def _simulated(
    analysis: Analysis, service: Service, faults: Sequence[Fault], *, compare: bool, runs: int, seed: int
) -> dict[str, dict[str, Summary]]:
    """Summaries by judge and fault, the manifest's own judge first."""
    from canary.api.sequential import Judge
    from canary.core.forecast.advice import with_judge
    from canary.core.forecast.release import Release, Rules
    from canary.core.forecast.summary import summary

    judges = [analysis.judge, *(judge for judge in Judge if judge is not analysis.judge and compare)]
    progress, total = Progress(), len(judges) * len(faults) * runs
    found: dict[str, dict[str, Summary]] = {}
    for judge in judges:
        rules = Rules(with_judge(analysis, judge) if judge is not analysis.judge else analysis, service)
        found[judge.value] = {}
        for fault in faults:
            outcomes = []
            for number in range(runs):
                done = (len(found) - 1) * len(faults) * runs + (len(found[judge.value])) * runs + number
                progress.show(f"{100 * done // total:3d} %  {judge.value}: {fault.name}")
                outcomes.append(Release(rules, fault, seed + number).run())
            found[judge.value][fault.name] = summary(outcomes, afterwards=fault.excess(service) * service.traffic * 3600)
    progress.clear()
    return found


def _described(found: Manifest, service: Service, *, seed: int) -> dict[str, Any]:
    from canary.core.forecast.counted import copied

    latency = service.latency
    return {
        "canary": found.name,
        "judge": found.canary.spec.analysis.judge.value,
        "seed": seed,
        "service": {
            "requestsPerSecond": service.traffic,
            "errorRate": service.errors,
            "p50": round(latency.quantile(0.5), 1),
            "p99": round(latency.quantile(0.99), 1),
            "scrapeSeconds": service.spacing,
            "young": None if service.young is None else service.young.name,
            "youngSeconds": service.young_for,
        },
        "copied": copied(found.canary.spec.analysis),
        "baseline": found.canary.spec.analysis.baseline.value,
    }


def _ignored(found: Manifest) -> list[str]:
    from canary.core.forecast.counted import others

    return [*others(found.canary.spec.analysis), *([found.uncopied] if found.uncopied else [])]


def _show(found: Manifest, service: Service, results: dict[str, dict[str, Summary]], runs: int) -> None:
    from canary.core.forecast.advice import chances_of
    from canary.core.forecast.chances import independent
    from canary.core.forecast.counted import copied
    from canary.core.forecast.service import HEALTHY
    from canary.core.forecast.words import columns, minutes, percent

    analysis = found.canary.spec.analysis
    _introduce(found, service, runs)
    staged = copied(analysis) > 0
    times = ("to rollback", "in 9 of 10", "to promotion")
    head = ("", "rolled back", *(("on copies",) if staged else ()), "promoted", "undecided", *times, "harmed", "failed checks")
    for judge, by_fault in results.items():
        click.echo(f"\njudge: {judge}")
        click.echo("\n".join(columns(head, [_row(fault, one, staged=staged) for fault, one in by_fault.items()])))
        low, high = by_fault["healthy"].rollback_interval
        exact = (
            f"; exactly {percent(chances_of(analysis, service, HEALTHY).rolled_back)} by computation"
            if judge == "threshold" and independent(analysis) and service.young is None
            else ""
        )
        click.echo(f"A healthy version is rolled back in {percent(low)} to {percent(high)} of releases (95 %, from {runs}{exact}).")
        if staged and (until := by_fault["healthy"].copying):
            click.echo(f"It has copies for {minutes(until)} before it meets its first users.")
    click.echo()


def _introduce(found: Manifest, service: Service, runs: int) -> None:
    """Say what is simulated, and what is not."""
    from canary.api.sequential import Baseline
    from canary.core.forecast.counted import copied
    from canary.core.forecast.words import count, minutes, percent
    from canary.core.weights import TOTAL

    analysis, latency = found.canary.spec.analysis, service.latency
    click.echo(
        f"{found.name}: {count(service.traffic)} requests/s, {percent(service.errors)} fail, P50 {latency.quantile(0.5):.0f} ms, P99 "
        f"{latency.quantile(0.99):.0f} ms; a step each {minutes(analysis.interval_seconds)}, scrapes each {minutes(service.spacing)}; {runs} releases each"
    )
    if part := copied(analysis):
        click.echo(f"Copies of {'all' if part == TOTAL else f'{part} % of the'} requests come before users.")
    if analysis.baseline is Baseline.FRESH:
        click.echo("Compared with a fresh baseline, which is as young as the canary and gets as many requests.")
    if service.young is not None:
        click.echo(f"Pods are young for {minutes(service.young_for)}: {service.young.name}.")
    if ignored := _ignored(found):
        click.echo(f"Not simulated, taken to agree: {', '.join(ignored)}.")


def _row(fault: str, one: Summary, *, staged: bool) -> tuple[str, ...]:
    """What became of the releases with this fault."""
    from canary.core.forecast.words import count, minutes, percent

    times = ("-" if time is None else minutes(time) for time in (one.to_rollback, one.to_rollback_p90, one.to_promotion))
    copies = (percent(one.on_copies),) if staged else ()
    shares = (percent(one.rolled_back), *copies, percent(one.promoted), percent(one.undecided))
    return fault, *shares, *times, count(one.harmed), f"{one.failed_checks:.1f}"
