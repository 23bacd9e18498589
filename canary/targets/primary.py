"""The primary Deployment: how it is first made, and which patch a promotion is. Pure functions over plain JSON.

Only what upstream copies is copied (reference 2.13); whatever else somebody has set on a primary stays theirs. `flagger-id`
is derived from what is promoted instead of drawn at random: two promotions never share it, so every promotion rolls the
pods, also when only a Secret has changed; but the replay of one promotion after a crash writes what is already there.
Rejected: a random id with "equal apart from the id means done", which would leave the pods on the old Secret.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from typing import Any

from canary.core.release import Release
from canary.kube.resource import DEPLOYMENTS, Object
from canary.targets.objects import annotations_of, clone, edit, included, labels_of, owned_head, unless_changed, without_toolkit
from canary.targets.pod_template import FLAGGER_ID, Naming, covers, primary_labels, to_primary

COPIED_FIELDS = ("progressDeadlineSeconds", "minReadySeconds", "revisionHistoryLimit", "strategy")
_CONTROLLER_KEYS = "deployment.kubernetes.io/"
"""Annotations that the Deployment controller keeps on every Deployment, such as its revision number."""
_IDS = uuid.UUID("6b0e3c57-6d3b-4d0b-9a2b-0d6a3c1c5f0e")


def naming_of(release: Release) -> Naming:
    """How this release's primary is named."""
    return Naming(release.target, release.label, release.label_value, release.options.selector_labels)


def promotion_id(release: Release, *, revision: str, configs: Mapping[str, str] | None) -> str:
    """The `flagger-id` of one promotion: a UUID that only this canary, this revision and these configs yield."""
    return str(uuid.uuid5(_IDS, json.dumps([release.canary.metadata.uid, revision, sorted((configs or {}).items())])))


def replicas_of(deployment: Mapping[str, Any]) -> int:
    """`spec.replicas`; 1 when absent, as the API server defaults it."""
    replicas = deployment["spec"].get("replicas")
    return 1 if replicas is None else int(replicas)


def new_primary(release: Release, target: Object, *, revision: str, configs: Mapping[str, str] | None) -> Object:
    """The primary as it is created from the target, which has this `revision` and uses these tracked `configs`."""
    naming = naming_of(release)
    body = owned_head(
        release,
        DEPLOYMENTS.head(release.namespace, release.primary),
        labels=primary_labels(included(labels_of(target), release.options.include_label_prefixes), naming),
        annotations=without_toolkit(annotations_of(target)),
    )
    template = _template(release, target, revision=revision, configs=configs)
    body["spec"] = {
        **{field: clone(target["spec"][field]) for field in COPIED_FIELDS if field in target["spec"]},
        "replicas": replicas_of(target) or 1,
        "selector": {"matchLabels": {naming.label: naming.primary_value}},
        "template": template,
    }
    return body


def promotion(release: Release, target: Object, primary: Object, *, revision: str, configs: Mapping[str, str] | None) -> list[Object]:
    """The conditional JSON patch that promotes the target onto the primary; empty when that has been done already."""
    template = _template(release, target, revision=revision, configs=configs)
    # A primary made by another version of us or of Flagger may select by more labels; its selector can never change.
    template["metadata"]["labels"].update(primary["spec"]["selector"].get("matchLabels") or {})
    ops = [] if _promoted(primary["spec"]["template"], template) else edit(primary, ("spec", "template"), template)
    for field in COPIED_FIELDS:
        ops += edit(primary, ("spec", field), target["spec"].get(field))
    if release.canary.spec.autoscaler_ref is None and replicas_of(target) > 0:  # never promote a parked target's zero
        ops += edit(primary, ("spec", "replicas"), replicas_of(target))
    prefixes = release.options.include_label_prefixes
    labels = primary_labels(included(labels_of(target), prefixes), naming_of(release))
    kept = {key: value for key, value in annotations_of(primary).items() if key.startswith(_CONTROLLER_KEYS)}
    taken = {key: value for key, value in annotations_of(target).items() if not key.startswith(_CONTROLLER_KEYS)}
    ops += edit(primary, ("metadata", "labels"), labels)
    ops += edit(primary, ("metadata", "annotations"), {**included(taken, prefixes), **kept})
    return unless_changed(primary, ops)


def _template(release: Release, target: Object, *, revision: str, configs: Mapping[str, str] | None) -> Object:
    flagger_id = promotion_id(release, revision=revision, configs=configs)
    return to_primary(target["spec"]["template"], naming_of(release), configs=(configs or {}).keys(), flagger_id=flagger_id)


def _promoted(live: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Whether the primary's template is of this very promotion and nobody has changed what we wrote."""
    return annotations_of(live).get(FLAGGER_ID) == annotations_of(wanted)[FLAGGER_ID] and covers(live, wanted)
