"""Which values of a Helm release name an image, and which workload a release makes.

Charts are free in how they call their values; what is read here are the shapes that charts share: `image: repo:tag`, a mapping with `repository`
(or `name`), `tag`, `registry` and `digest`, flat `imageRepository` and `imageTag`, and whatever carries Flux's setter markers. The name of the
workload follows the rule of the charts that `helm create` makes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from canary.gitops.documents import Place, dotted, text_of
from canary.gitops.images import Holds, Override, Sourced, assembled
from canary.gitops.markers import held_by_marker
from canary.gitops.splice import Path

VALUES = "values:"
"""Begins the key of an image that comes from values and not from a container."""
_IN_IMAGE = {
    "registry": Holds.REGISTRY,
    "repository": Holds.REPOSITORY,
    "repo": Holds.REPOSITORY,
    "name": Holds.REPOSITORY,
    "tag": Holds.TAG,
    "digest": Holds.DIGEST,
}
_FLAT = {
    "imageregistry": Holds.REGISTRY,
    "imagerepository": Holds.REPOSITORY,
    "imagename": Holds.REPOSITORY,
    "imagetag": Holds.TAG,
    "imagedigest": Holds.DIGEST,
}


@dataclass(frozen=True, slots=True)
class Release:
    """One Helm release: what it is called, where it lands, its chart (empty when unknown), its merged values, and images that are replaced last."""

    name: str
    namespace: str
    chart: str
    version: str
    values: Mapping[Path, Place]
    overrides: tuple[Override, ...] = ()
    unread: tuple[str, ...] = ()
    folder: str = ""
    """Of the chart, when it is in the repository."""

    def makes(self, workload: str) -> bool:
        """Whether the workload has the name that charts give: the release's, `fullnameOverride`, or release and chart."""
        full = text_of(self.values, "fullnameOverride")
        if full:
            return workload == full
        chart = text_of(self.values, "nameOverride") or self.chart
        return workload in {self.name, self.name if not chart or chart in self.name else f"{self.name}-{chart}"}

    def may_make(self, workload: str) -> bool:
        """Whether the name is at least alike: a part of the release, such as `release-worker`."""
        return workload.startswith(f"{self.name}-") or self.name.endswith(f"-{workload}") or self.chart == workload

    @property
    def images(self) -> dict[str, Sourced]:
        """The images that it names, by `values:` and the path."""
        found = slots(self.values)
        found |= {f"{VALUES}postRenderers[{entry.name}]": entry.result for entry in self.overrides if entry.result.parts}
        return found


def slots(values: Mapping[Path, Place]) -> dict[str, Sourced]:
    """The images in values, by `values:` and the path of what holds them."""
    groups: dict[Path, dict[str, Place]] = {}
    for path, place in values.items():
        if path and isinstance(path[-1], str):
            groups.setdefault(path[:-1], {})[path[-1]] = place
    found: dict[str, Sourced] = {}
    for parent, group in groups.items():
        for key, places in _shapes(parent, group).items():
            if one := assembled(places):
                found[f"{VALUES}{dotted(key)}"] = one
    return found


def _shapes(parent: Path, group: Mapping[str, Place]) -> dict[Path, dict[Holds, Place]]:
    """What in one mapping makes up images, by path."""
    found: dict[Path, dict[Holds, Place]] = {}
    known = {key: place for key, place in group.items() if not place.null and place.value}
    last = str(parent[-1]).lower() if parent else ""
    if last.endswith("image") or ({"repository", "repo"} & known.keys() and {"tag", "digest"} & known.keys()):
        found[parent] = {_IN_IMAGE[key]: place for key, place in known.items() if key in _IN_IMAGE}
        if {"repository", "name"} <= known.keys():  # `ghcr.io/acme` and `podinfo`
            found[parent] |= {Holds.REPOSITORY: known["name"], Holds.REGISTRY: known["repository"]}
    for key, place in known.items():
        if key == "image" or key.endswith("Image"):
            tag = known.get("tag") or known.get(f"{key}Tag") or known.get(f"{key}_tag")
            path = (*parent, key)
            found[path] = {Holds.REPOSITORY: place, Holds.TAG: tag} if tag else {Holds.IMAGE: place}
            if tag and "digest" in known:
                found[path][Holds.DIGEST] = known["digest"]
        elif holds := _FLAT.get(key.lower().replace("_", "")):
            found.setdefault((*parent, "image*"), {}).setdefault(holds, place)
    taken = {place for places in found.values() for place in places.values()}
    for key, place in known.items():
        if place not in taken and (marked := held_by_marker(place)):
            policy, holds = marked
            found.setdefault((*parent, key if holds is Holds.IMAGE else policy), {})[holds] = place
    return {path: _one_name(places) for path, places in found.items()}


def _one_name(places: dict[Holds, Place]) -> dict[Holds, Place]:
    """Without flat parts that stand beside an image of its own, so that each image has one name."""
    return {Holds.IMAGE: places[Holds.IMAGE]} if Holds.IMAGE in places else places
