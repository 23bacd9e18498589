"""From the target's pod template to the primary's, and back: pure functions over plain JSON.

The way back exists for take-over: a primary that Flagger wrote is compared with the target after undoing what is known to be
done on the way (reference 7.1), because the hash that Flagger left in the status cannot be computed. It is exact unless the
target's own template already names the primary (`app: podinfo-primary` in an affinity, a ConfigMap `x-primary` beside `x`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from canary.kube.resource import Object
from canary.targets.config_refs import mandatory, rename, rename_back
from canary.targets.objects import FRESH_SUFFIX, SUFFIX, annotations_of, clone, labels_of, without_toolkit

FLAGGER_ID = "flagger-id"
"""Pod annotation that makes every promotion roll the primary's pods, also when only a ConfigMap has changed."""


@dataclass(frozen=True, slots=True)
class Naming:
    """What decides the primary's names: the workload, its selector label L with value V, the candidate selector keys."""

    workload: str
    label: str
    value: str
    selector_labels: tuple[str, ...]

    @property
    def primary_value(self) -> str:
        """Value of L on the primary's pods."""
        return self.value + SUFFIX

    @property
    def baseline_value(self) -> str:
        """Value of L on the pods of a fresh baseline."""
        return self.value + FRESH_SUFFIX


def primary_labels(labels: Mapping[str, str], naming: Naming) -> dict[str, str]:
    """Labels without Flux's, with L set to the primary's value."""
    return {**without_toolkit(labels), naming.label: naming.primary_value}


def to_primary(template: Mapping[str, Any], naming: Naming, *, configs: Collection[str], flagger_id: str) -> Object:
    """The primary's pod template (reference 2.13): labels, annotations, config references and anti-affinity rewritten.

    `configs` are the tracked keys (`configmap/<n>`, `secret/<n>`). Everything else, also what we do not know, is as in `template`.
    """
    primary: Object = clone(template)
    meta = primary.setdefault("metadata", {})
    meta["labels"] = primary_labels(labels_of(template), naming)
    meta["annotations"] = {**without_toolkit(annotations_of(template)), FLAGGER_ID: flagger_id}
    rename(primary, configs)
    _reselect(primary, naming, lambda value: value + SUFFIX if value == naming.workload else value)
    return primary


def to_target(template: Mapping[str, Any], naming: Naming, *, configs: Collection[str]) -> Object:
    """The inverse of `to_primary`; a template that is no primary's comes back as it is, without `flagger-id` and Flux's keys."""
    target: Object = clone(template)
    meta = target.setdefault("metadata", {})
    labels, annotations = without_toolkit(labels_of(template)), without_toolkit(annotations_of(template))
    if labels.get(naming.label) == naming.primary_value:
        labels[naming.label] = naming.value
    annotations.pop(FLAGGER_ID, None)
    for field, keys in (("labels", labels), ("annotations", annotations)):
        meta.pop(field, None)
        if keys:
            meta[field] = keys
    rename_back(target, configs)
    _reselect(target, naming, lambda value: naming.workload if value == naming.workload + SUFFIX else value)
    return target


def to_baseline(template: Mapping[str, Any], naming: Naming) -> Object:
    """The primary's pod template once more, under the baseline's label; its configs are the primary's own, and are mounted as they are.

    Selectors that keep the primary's pods apart keep the baseline's apart, so that both find nodes as the canary does.
    """
    baseline: Object = clone(template)
    baseline.setdefault("metadata", {})["labels"] = {**labels_of(template), naming.label: naming.baseline_value}
    _reselect(baseline, naming, lambda value: naming.workload + FRESH_SUFFIX if value == naming.workload + SUFFIX else value)
    return baseline


def same_version(target: Mapping[str, Any], primary: Mapping[str, Any], naming: Naming) -> bool:
    """Whether a primary, by whomever it was written, runs the target's version.

    Which configs were tracked when it was written is unknown, so every reference of the target counts as such. Both sides are
    undone, so that a target which names the primary by itself still equals its copy. Of the template's metadata only labels
    and annotations count: upstream copies nothing else.
    """
    configs = mandatory(target).keys()
    return _essence(to_target(target, naming, configs=configs)) == _essence(to_target(primary, naming, configs=configs))


def _essence(template: Object) -> Object:
    rest = {key: value for key, value in template.items() if key != "metadata"}
    return {**rest, "labels": labels_of(template), "annotations": annotations_of(template)}


def _reselect(template: Object, naming: Naming, change: Callable[[str], str]) -> None:
    """Rewrite label values in the selectors that keep pods apart; of an expression's values only the first that changes."""
    for selector in _selectors(template.get("spec") or {}):
        labels = selector.get("matchLabels") or {}
        for key in naming.selector_labels:
            if key in labels:
                labels[key] = change(labels[key])
        for expression in selector.get("matchExpressions") or ():
            if expression.get("key") in naming.selector_labels:
                _change_first(expression.get("values") or [], change)


def _change_first(values: list[str], change: Callable[[str], str]) -> None:
    for index, value in enumerate(values):
        if (changed := change(value)) != value:
            values[index] = changed
            return


def _selectors(spec: Mapping[str, Any]) -> Iterator[Object]:
    """Label selectors of topologySpreadConstraints and podAntiAffinity; podAffinity and nodeAffinity are left alone."""
    anti = (spec.get("affinity") or {}).get("podAntiAffinity") or {}
    preferred = anti.get("preferredDuringSchedulingIgnoredDuringExecution") or ()
    terms = [
        *(spec.get("topologySpreadConstraints") or ()),
        *((entry.get("podAffinityTerm") or {}) for entry in preferred),
        *(anti.get("requiredDuringSchedulingIgnoredDuringExecution") or ()),
    ]
    for term in terms:
        if selector := term.get("labelSelector"):
            yield selector


def with_images(template: Mapping[str, Any], images: Mapping[str, str]) -> Object:
    """The template with these images by container, init containers included."""
    changed: Object = clone(template)
    spec = changed.get("spec") or {}
    for container in (*(spec.get("initContainers") or ()), *(spec.get("containers") or ())):
        if container["name"] in images:
            container["image"] = images[container["name"]]
    return changed


def covers(live: Any, wanted: Any) -> bool:
    """Whether `live` holds everything that `wanted` says, and perhaps more.

    Admission webhooks add fields, list entries and sidecars to what we write. A template that carries this promotion's
    `flagger-id` and covers what we wrote must not be written again: that would roll the pods at every replay.
    """
    if isinstance(wanted, Mapping):
        return isinstance(live, Mapping) and all(key in live and covers(live[key], value) for key, value in wanted.items())
    if isinstance(wanted, list):
        if not isinstance(live, list):
            return False
        rest = iter(live)
        return all(any(covers(item, value) for item in rest) for value in wanted)
    return bool(live == wanted)
