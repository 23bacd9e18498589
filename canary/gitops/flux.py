"""Flux's objects: the folders that a Kustomization delivers, and the values of a HelmRelease."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping, Sequence

from canary.gitops.documents import Place, below, inside, items, merge, text_of, texts
from canary.gitops.helm_values import Release
from canary.gitops.kustomize import Reading, Root, overrides, resolved, wrapper
from canary.gitops.rendered import Rendered
from canary.gitops.splice import Path

_SOURCES = {"GitRepository", "Bucket"}
"""Sources in which a chart is a folder; that the folder is here, the files decide."""


def roots(one: Rendered) -> Iterator[Root]:
    """The folder that a Kustomization of Flux names; it may be in another repository, which the files decide."""
    if (one.kind, one.group) == ("Kustomization", "kustomize.toolkit.fluxcd.io"):
        folder = folder_of(text_of(one.leaves, "spec", "path"))
        said = wrapper(one.document, one.leaves, folder, ("spec",), text_of(one.leaves, "spec", "targetNamespace"))
        yield Root(folder, one.document.file, (said,))


def folder_of(path: str) -> str:
    """A folder of the repository; the root is empty."""
    folder = posixpath.normpath(path.strip("/") or ".")
    return "" if folder == "." else folder


def is_release(one: Rendered) -> bool:
    """Whether this is a HelmRelease."""
    return (one.kind, one.group) == ("HelmRelease", "helm.toolkit.fluxcd.io")


def values_files(one: Rendered) -> list[str]:
    """Files of the repository that a HelmRelease takes values from, the chart's own first."""
    spec = ("spec", "chart", "spec")
    if not is_release(one) or text_of(one.leaves, *spec, "sourceRef", "kind") not in _SOURCES:
        return []
    named = [*texts(one.leaves, *spec, "valuesFiles"), *([single] if (single := text_of(one.leaves, *spec, "valuesFile")) else [])]
    files = [resolved("", path) for path in named] or [resolved("", f"{text_of(one.leaves, *spec, 'chart')}/values.yaml")]
    return [path for path in files if path]


def release(one: Rendered, beside: Sequence[Rendered], read: Reading) -> Release:
    """A HelmRelease with its values as Helm would merge them: files of the chart, ConfigMaps in order, the ones in the object."""
    leaves = one.leaves
    values: dict[Path, Place] = {}
    unread: list[str] = []
    for path in values_files(one):
        _add(values, path, read, unread)
    for item in items(leaves, "spec", "valuesFrom"):
        _from(values, leaves, item, beside, read)
    merge(values, below(leaves, ("spec", "values")))
    target = text_of(leaves, "spec", "targetNamespace")
    name = text_of(leaves, "spec", "releaseName") or (f"{target}-{one.name}" if target else one.name)
    chart = text_of(leaves, "spec", "chart", "spec", "chart") or text_of(leaves, "spec", "chartRef", "name")
    entries = [entry for item in items(leaves, "spec", "postRenderers") for entry in overrides(leaves, *item, "kustomize", "images")]
    here = text_of(leaves, "spec", "chart", "spec", "sourceRef", "kind") in _SOURCES
    folder = folder_of(chart) if here else ""
    version = text_of(leaves, "spec", "chart", "spec", "version")
    return Release(name, target or one.namespace, posixpath.basename(chart), version, values, tuple(entries), tuple(unread), folder)


def _add(values: dict[Path, Place], path: str, read: Reading, unread: list[str]) -> None:
    documents = read(path)
    if not documents or documents[0].encrypted:
        unread.append(path)
    else:
        merge(values, documents[0].leaves)


def _from(values: dict[Path, Place], leaves: Mapping[Path, Place], item: Path, beside: Sequence[Rendered], read: Reading) -> None:
    """The values of one ConfigMap: generated from files, or with YAML in its text."""
    name, key = text_of(leaves, *item, "name"), text_of(leaves, *item, "valuesKey") or "values.yaml"
    if text_of(leaves, *item, "kind") != "ConfigMap" or text_of(leaves, *item, "targetPath"):
        return
    for one in beside:
        if one.kind != "ConfigMap" or name not in {one.name, *one.names}:
            continue
        for entry in one.generated:
            if entry.partition("=")[0] == key:
                _add(values, entry.partition("=")[2], read, [])
        place = one.leaves.get(("data", key))
        for document in inside(place)[:1] if place and not place.alias else ():
            merge(values, document.leaves)
