"""What `simulate`, `replay` and `plan` share: reading a manifest, changing settings of its analysis, asking a Prometheus about the past."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import click

from canary.core.errors import CanaryError, Rejected

if TYPE_CHECKING:
    from canary.api.canary import Canary
    from canary.api.metrictemplate import MetricTemplate
    from canary.metrics.prometheus import PrometheusProvider
    from canary.routers.base import Router

MESH = "istio"
"""The operator's default as well."""
PATIENCE = 30.0
"""Seconds that one question about the past may take."""
_UNMANIFESTED: Mapping[str, Any] = {
    "metadata": {"name": "service", "namespace": "default"},
    "spec": {
        "targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "service"},
        "service": {"port": 80},
        "analysis": {
            "interval": "1m",
            "threshold": 5,
            "stepWeight": 5,
            "maxWeight": 50,
            "metrics": [
                {"name": "request-success-rate", "interval": "1m", "thresholdRange": {"min": 99}},
                {"name": "request-duration", "interval": "1m", "thresholdRange": {"max": 500}},
            ],
        },
    },
}
"""What is simulated without a manifest: the analysis of Flagger's documentation."""
_SET = re.compile(r"[A-Za-z0-9]+(\.[A-Za-z0-9]+)*=.*", re.DOTALL)

manifest_option = click.option(
    "--manifest", type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="FILE", help="YAML with the Canary."
)
required_manifest_option = click.option(
    "--manifest", required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="FILE", help="YAML with the Canary."
)
set_option = click.option(
    "--set", "settings", multiple=True, metavar="KEY=VALUE",
    help="Another value in spec.analysis, such as judge=sequential, sequential.maxExcessPerHour=60 or metrics.0.thresholdRange.min=99.5; may be repeated.",
)  # fmt: skip
server_option = click.option("--metrics-server", required=True, metavar="URL", help="Prometheus that scraped both versions.")
mesh_option = click.option(
    "--mesh-provider", default=MESH, show_default=True, help="What moves the traffic unless spec.provider says so, as for the operator."
)


@dataclass(frozen=True, slots=True)
class Manifest:
    """One Canary, and the MetricTemplates of the same file by (namespace, name).

    Its `mirror` and `mirrorWeight` are what the mesh makes of them. `uncopied`: why nothing is copied although the file says so.
    """

    canary: Canary
    templates: Mapping[tuple[str, str], MetricTemplate] = field(default_factory=dict)
    uncopied: str = ""

    @property
    def name(self) -> str:
        return f"{self.canary.metadata.namespace}/{self.canary.metadata.name}"


def read_manifest(path: Path | None, settings: Sequence[str] = (), *, mesh: str = MESH) -> Manifest:
    """The Canary of a file (without one, a usual one), with settings replaced, checked as the operator checks it. Raises Rejected."""
    from canary.api.canary import parse_canary
    from canary.api.errors import InvalidObject
    from canary.api.metrictemplate import parse_metric_template
    from canary.api.validation import validate_semantics

    documents = [dict(_UNMANIFESTED)] if path is None else _documents(path)
    canaries = [body for body in documents if body.get("kind", "Canary") == "Canary"]
    if len(canaries) != 1:
        raise Rejected(f"{path} holds {len(canaries) or 'no'} objects of kind Canary, not one", hint="name a file with exactly one Canary")
    try:
        canary = parse_canary(_changed(canaries[0], settings))
        templates = [parse_metric_template(body) for body in documents if body.get("kind") == "MetricTemplate"]
    except InvalidObject as error:
        raise Rejected(str(error)) from error
    if problems := validate_semantics(canary, provider=canary.spec.provider or mesh, no_cross_namespace_refs=False):
        first = problems[0]
        raise Rejected(f"{path or 'the analysis'}: {first.path}: {first.message}", hint=first.hint)
    found = {(one.metadata.namespace or canary.metadata.namespace, one.metadata.name): one for one in templates}
    part = _copied(canary, mesh) if canary.spec.analysis.mirror else 0
    uncopied = (
        "" if part or not canary.spec.analysis.mirror else f"mirror (provider {canary.spec.provider or mesh} copies no requests here)"
    )
    return Manifest(_mirroring(canary, part), found, uncopied)


def _copied(canary: Canary, mesh: str) -> int:
    """Percent of the requests that the mesh copies to the canary before it gets any of its own. Raises Rejected for an unknown mesh."""
    from canary.core.release import Release
    from canary.routers.registry import router

    provider, target = canary.spec.provider or mesh, canary.spec.target_ref.name
    release = Release(canary, provider, "app", target)  # by which label the pods are told apart makes no difference here
    found = router(provider)
    return found.mirrored_percent(release) if found.can_mirror(release) else 0


def _mirroring(canary: Canary, copied: int) -> Canary:
    """The same with this part of the requests copied."""
    analysis = canary.spec.analysis.model_copy(update={"mirror": copied > 0, "mirror_weight": copied or None})
    return canary.model_copy(update={"spec": canary.spec.model_copy(update={"analysis": analysis})})


def _documents(path: Path) -> list[dict[str, Any]]:
    import yaml

    try:
        found = list(yaml.safe_load_all(path.read_text(encoding="utf-8")))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise Rejected(f"{path} is no YAML: {' '.join(str(error).split())}") from error
    return [body for body in found if isinstance(body, dict)]


def _changed(body: Mapping[str, Any], settings: Sequence[str]) -> dict[str, Any]:
    """A copy with the settings in its analysis."""
    import copy

    import yaml

    changed = copy.deepcopy(dict(body))
    spec = changed.get("spec")
    analysis = (spec.get("analysis") or spec.get("canaryAnalysis")) if isinstance(spec, dict) else None
    for setting in settings:
        if not _SET.fullmatch(setting):
            raise click.UsageError(f"--set {setting!r} is not KEY=VALUE")
        path, _, text = setting.partition("=")
        *parents, last = path.split(".")
        where: Any = analysis
        for key in parents:
            where = _within(where, key, setting)
        try:
            _put(where, last, yaml.safe_load(text), setting)
        except yaml.YAMLError as error:
            raise click.UsageError(f"--set {setting!r}: the value is no YAML") from error
    return changed


def _within(where: Any, key: str, setting: str) -> Any:
    if isinstance(where, dict):
        return where.setdefault(key, {})
    if isinstance(where, list) and key.isdecimal() and int(key) < len(where):
        return where[int(key)]
    raise click.UsageError(f"--set {setting!r}: the analysis has no {key!r} there")


def _put(where: Any, key: str, value: Any, setting: str) -> None:
    if isinstance(where, list) and key.isdecimal() and int(key) < len(where):
        where[int(key)] = value
    elif isinstance(where, dict):
        if key in ("stepWeight", "stepWeights"):  # one schedule replaces the other
            where.pop("stepWeight", None)
            where.pop("stepWeights", None)
        where[key] = value
    else:
        raise click.UsageError(f"--set {setting!r}: the analysis has no {key!r} there")


class Progress:
    """One line on stderr that is overwritten; nothing when stderr is no terminal."""

    def __init__(self) -> None:
        self._shown = sys.stderr.isatty()
        self._width = 0

    def show(self, text: str) -> None:
        if self._shown:
            self._width = max(self._width, len(text))
            print(f"\r{text.ljust(self._width)}", end="", file=sys.stderr, flush=True)

    def clear(self) -> None:
        if self._shown and self._width:
            print(f"\r{' ' * self._width}\r", end="", file=sys.stderr, flush=True)


# ------------------------------------------------------------------------------------------------ asking about the past


class Server:
    """A Prometheus, asked about one canary. Use as an async context; entering asks whether it is there."""

    def __init__(self, address: str, canary: Canary) -> None:
        from canary.metrics.base import Source
        from canary.metrics.prometheus import PrometheusProvider

        self._source = Source(type="prometheus", address=address)
        self._canary = canary
        self.lost: CanaryError | None = None
        self._provider: PrometheusProvider = PrometheusProvider()

    async def __aenter__(self) -> Self:
        try:
            problem = await self._provider.online(self._source, timeout=PATIENCE / 3)
        except CanaryError as error:
            problem = error.message
        if problem:
            await self._provider.close()
            raise _absent(self._source.address, problem)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._provider.close()

    async def series(self, template: str, at: float) -> list[Any]:
        """All series of a query template at `at` (Unix seconds); `lost` remembers that the server went away. Raises CanaryError, TemplateError."""
        return await self.rendered(template, at, interval="")

    async def rendered(
        self, template: str, at: float, *, interval: str, variables: Mapping[str, str] | None = None, arm: str = ""
    ) -> list[Any]:
        """The same, of a check with its window and variables; `arm`: of a template that is about this version."""
        from canary.metrics.base import Unreachable
        from canary.metrics.render import render_query

        text = render_query(template, self._canary, interval=interval, variables=variables, arm=arm)
        try:
            return await self._provider.series(self._source, text, at=at, timeout=PATIENCE)
        except Unreachable as error:
            self.lost = error
            raise


def _absent(address: str, problem: str) -> Exception:
    from canary.metrics.base import Unreachable

    error = Unreachable(f"no Prometheus answers at {address}: {problem}")
    error.hint = (
        "--metrics-server must be the URL of a Prometheus as reached from here, such as http://127.0.0.1:9090 after `kubectl port-forward`"
    )
    return error


def queries_of(canary: Canary, mesh: str) -> Router:
    """The router that knows which series count the requests. Raises Rejected for one that cannot tell the versions apart."""
    from canary.routers.registry import router

    found = router(canary.spec.provider or mesh)
    if found.arm_queries is None:
        raise Rejected(
            f"provider {found.name} does not count the requests of both versions",
            hint="pass --mesh-provider, or set spec.provider, to what moves the traffic",
        )
    return found
