"""Argo CD's Application: the folders it delivers, and the values it gives to a chart."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping

from canary.gitops.documents import Place, below, inside, items, merge, text_of, texts
from canary.gitops.flux import folder_of
from canary.gitops.helm_values import Release
from canary.gitops.kustomize import Reading, Root, resolved, wrapper
from canary.gitops.rendered import Rendered
from canary.gitops.splice import Path


def is_application(one: Rendered) -> bool:
    """Whether this is an Application."""
    return (one.kind, one.group) == ("Application", "argoproj.io")


def sources(one: Rendered) -> list[Path]:
    """Where its sources stand: `spec.source`, or the items of `spec.sources`."""
    if not is_application(one):
        return []
    single: list[Path] = [("spec", "source")] if below(one.leaves, ("spec", "source")) else []
    return [*single, *items(one.leaves, "spec", "sources")]


def roots(one: Rendered, read: Reading) -> Iterator[Root]:
    """The folders that it delivers as manifests or through Kustomize."""
    for at in sources(one):
        path = text_of(one.leaves, *at, "path")
        if path and not _is_helm(one, at, read):
            folder = folder_of(path)
            recurse = text_of(one.leaves, *at, "directory", "recurse") == "true"
            said = wrapper(one.document, one.leaves, folder, (*at, "kustomize"), text_of(one.leaves, *at, "kustomize", "namespace"))
            beside = [wrapper(document, document.leaves, folder, ("kustomize",)) for document in read(_parameters(one, folder))]
            yield Root(folder, one.document.file, (said, *beside), _destination(one), recurse)


def values_files(one: Rendered) -> list[str]:
    """Files of the repository that its charts take values from, the chart's own first; and what image updaters write beside them."""
    found = []
    for at in sources(one):
        folder = folder_of(text_of(one.leaves, *at, "path"))
        if folder:
            found += [f"{folder}/Chart.yaml", f"{folder}/values.yaml", _parameters(one, folder)]
        found += _named(one, at)
    return found


def releases(one: Rendered, read: Reading) -> Iterator[Release]:
    """Its Helm releases: values of the chart, files, `values`, `valuesObject`, `parameters`, each over the ones before."""
    for at in sources(one):
        if not _is_helm(one, at, read):
            continue
        values: dict[Path, Place] = {}
        folder = folder_of(text_of(one.leaves, *at, "path"))
        for path in ([f"{folder}/values.yaml"] if folder else []) + _named(one, at):
            for document in read(path)[:1]:
                merge(values, document.leaves)
        text = one.leaves.get((*at, "helm", "values"))
        for document in inside(text)[:1] if text and not text.alias else ():
            merge(values, document.leaves)
        merge(values, below(one.leaves, (*at, "helm", "valuesObject")))
        _parameterised(values, one.leaves, (*at, "helm"))
        for document in read(_parameters(one, folder)) if folder else ():
            _parameterised(values, document.leaves, ("helm",))
        own = next((document.value("name") for document in read(f"{folder}/Chart.yaml")[:1]), "")
        name = text_of(one.leaves, *at, "helm", "releaseName") or one.name
        chart = text_of(one.leaves, *at, "chart") or own or folder
        version = text_of(one.leaves, *at, "targetRevision") if text_of(one.leaves, *at, "chart") else ""
        yield Release(name, _destination(one), posixpath.basename(chart), version, values, folder=folder)


def _parameterised(values: dict[Path, Place], leaves: Mapping[Path, Place], at: Path) -> None:
    for item in items(leaves, *at, "parameters"):
        place = leaves.get((*item, "value"))
        if (name := text_of(leaves, *item, "name")) and place:
            merge(values, {tuple(name.replace("\\.", "\0").split(".")): place})


def _is_helm(one: Rendered, at: Path, read: Reading) -> bool:
    if text_of(one.leaves, *at, "chart") or below(one.leaves, (*at, "helm")):
        return True
    return bool(read(f"{folder_of(text_of(one.leaves, *at, 'path'))}/Chart.yaml"))


def _named(one: Rendered, at: Path) -> list[str]:
    """`valueFiles`, relative to the chart, or to the source that `$ref` names: here, always this repository."""
    folder = folder_of(text_of(one.leaves, *at, "path"))
    found = []
    for path in texts(one.leaves, *at, "helm", "valueFiles"):
        head, _, rest = path.partition("/")
        found.append(resolved("", rest) if head.startswith("$") else resolved(folder, path))
    return [path for path in found if path]


def _parameters(one: Rendered, folder: str) -> str:
    """Where Argo CD's image updater writes by default."""
    return posixpath.join(folder, f".argocd-source-{one.document.name}.yaml")


def _destination(one: Rendered) -> str:
    return text_of(one.leaves, "spec", "destination", "namespace")
