"""The CustomResourceDefinitions, generated from the models into `crds/`.

    python -m canary.api.crd [--check] [DIR ...]

writes one file per kind into each folder (default `crds`), or with `--check` says which files are stale and ends with 1.

The kinds of `flagger.app` keep upstream's names, required lists, enums, patterns, rules, defaults, printer columns,
categories and the Helm `keep` policy; ours is added after it. Two choices of our own:
- `v1alpha3` is served beside `v1beta1` with the same schema and no conversion, so `canaryAnalysis` is a property of both.
  Its "exactly one schedule" rule holds only while `analysis` is absent, so that no manifest with both is refused for it.
- Our own kinds are in category `delivery`. A category called `canary` was rejected: kubectl expands categories before names,
  so that `kubectl get canary podinfo` would ask for our kinds and no longer find the Canary.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml
from pydantic import BaseModel

from canary.api.alertprovider import AlertProvider
from canary.api.canary import Canary
from canary.api.canaryrun import CanaryRun
from canary.api.common import EXTENSION_GROUP, EXTENSION_VERSION, FLAGGER_GROUP
from canary.api.gitsink import GitSink
from canary.api.metrictemplate import MetricTemplate
from canary.api.rolloutplan import RolloutPlan
from canary.api.schema import Schema, field_docs, schema_of

KEEP: Final = {"helm.sh/resource-policy": "keep"}
_HEADER: Final = "# Generated from the models of canary/api by `python -m canary.api.crd`; edit those.\n"
_API_VERSION_DOC: Final = "Version of the schema that this object is written in."
_KIND_DOC: Final = "Kind of this object."


@dataclass(frozen=True, slots=True)
class Column:
    """One printer column. `wide` columns show only with `-o wide`."""

    name: str
    path: str
    type: str = "string"
    wide: bool = False

    def to_dict(self) -> dict[str, Any]:
        """As the CRD spells it."""
        column = {"name": self.name, "type": self.type, "jsonPath": self.path}
        return column | {"priority": 1} if self.wide else column


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind: its model and how the API presents it. `columns` maps each served version, newest first, to its columns."""

    model: type[BaseModel]
    group: str
    plural: str
    columns: Mapping[str, Sequence[Column]]
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ("all",)

    @property
    def crd_name(self) -> str:
        """Name of the CRD."""
        return f"{self.plural}.{self.group}"

    @property
    def file_name(self) -> str:
        """Name of its file."""
        return f"{self.group}_{self.plural}.yaml"


def _canary_columns(analysis: str) -> tuple[Column, ...]:
    """Upstream's columns in upstream's order (scripts cut them by position), then ours, which are wide only."""
    return (
        Column("Status", ".status.phase"),
        Column("Weight", ".status.canaryWeight"),
        Column("Suspended", ".spec.suspend", "boolean", wide=True),
        Column("FailedChecks", ".status.failedChecks", wide=True),
        Column("Interval", f".spec.{analysis}.interval", wide=True),
        Column("Mirror", f".spec.{analysis}.mirror", "boolean", wide=True),
        Column("StepWeight", f".spec.{analysis}.stepWeight", wide=True),
        Column("StepWeights", f".spec.{analysis}.stepWeights", wide=True),
        Column("MaxWeight", f".spec.{analysis}.maxWeight", wide=True),
        Column("LastTransitionTime", ".status.lastTransitionTime"),
        Column("Why", ".status.failureReason", wide=True),
        Column("Run", ".status.run.id", wide=True),
    )


_READY: Final = ".status.conditions[?(@.type=='Ready')]"
KINDS: Final = (
    Kind(
        model=Canary,
        group=FLAGGER_GROUP,
        plural="canaries",
        columns={"v1beta1": _canary_columns("analysis"), "v1alpha3": _canary_columns("canaryAnalysis")},
        short_names=("cny",),
    ),
    Kind(
        model=MetricTemplate,
        group=FLAGGER_GROUP,
        plural="metrictemplates",
        columns={"v1beta1": (Column("Provider", ".spec.provider.type"),)},
    ),
    Kind(
        model=AlertProvider,
        group=FLAGGER_GROUP,
        plural="alertproviders",
        columns={"v1beta1": (Column("Type", ".spec.type"),)},
    ),
    Kind(
        model=GitSink,
        group=EXTENSION_GROUP,
        plural="gitsinks",
        columns={
            EXTENSION_VERSION: (
                Column("Ready", f"{_READY}.status"),
                Column("Repository", ".spec.repository.url"),
                Column("LastPush", ".status.lastPush.time", "date"),
                Column("Suspended", ".spec.suspend", "boolean", wide=True),
                Column("Cluster", ".spec.cluster", wide=True),
                Column("Why", f"{_READY}.message", wide=True),
                Column("Age", ".metadata.creationTimestamp", "date"),
            )
        },
        short_names=("gsink",),
        categories=("delivery",),
    ),
    Kind(
        model=CanaryRun,
        group=EXTENSION_GROUP,
        plural="canaryruns",
        columns={
            EXTENSION_VERSION: (
                Column("Canary", ".spec.canaryRef.name"),
                Column("Outcome", ".status.phase"),
                Column("MaxWeight", ".status.maxWeightReached", "integer"),
                Column("FailedChecks", ".status.failedChecks", "integer"),
                Column("Started", ".spec.startedAt", "date"),
                Column("Finished", ".status.finishedAt", "date", wide=True),
                Column("Revision", ".spec.source.revision", wide=True),
                Column("Why", ".status.reason", wide=True),
            )
        },
        short_names=("crun",),
        categories=("delivery",),
    ),
    Kind(
        model=RolloutPlan,
        group=EXTENSION_GROUP,
        plural="rolloutplans",
        columns={
            EXTENSION_VERSION: (
                Column("Canary", ".spec.canary.name"),
                Column("Mode", ".spec.mode"),
                Column("Suspended", ".spec.suspend", "boolean"),
                Column("Branch", ".spec.source.branch", wide=True),
                Column("Age", ".metadata.creationTimestamp", "date"),
            )
        },
        short_names=("rplan",),
        categories=("delivery",),
    ),
)


def crd(kind: Kind) -> Schema:
    """The CustomResourceDefinition of a kind. The newest version is stored."""
    name = kind.model.__name__
    names: Schema = {"kind": name, "listKind": f"{name}List", "plural": kind.plural, "singular": name.lower()}
    if kind.short_names:
        names["shortNames"] = list(kind.short_names)
    names["categories"] = list(kind.categories)
    versions = [
        {
            "name": version,
            "served": True,
            "storage": index == 0,
            "subresources": {"status": {}},
            "additionalPrinterColumns": [column.to_dict() for column in columns],
            "schema": {"openAPIV3Schema": object_schema(kind.model)},
        }
        for index, (version, columns) in enumerate(kind.columns.items())
    ]
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": kind.crd_name, "annotations": dict(KEEP)},
        "spec": {"group": kind.group, "names": names, "scope": "Namespaced", "versions": versions},
    }


def object_schema(model: type[BaseModel]) -> Schema:
    """Schema of a whole object. Nothing is required at the top (as upstream): an object without spec is told so by us."""
    schema = schema_of(model)
    head: Schema = {
        "apiVersion": {"type": "string", "description": _API_VERSION_DOC},
        "kind": {"type": "string", "description": _KIND_DOC},
        "metadata": {"type": "object"},
    }
    body = {key: node for key, node in schema["properties"].items() if key not in head}
    missing = [key for key in body if not field_docs(model).get(key)]
    assert not missing, f"{model.__name__}: fields without a docstring: {missing}"
    return {"description": model.__doc__, "type": "object", "properties": head | body}


def files() -> dict[str, str]:
    """Content of every CRD file by name."""
    return {
        kind.file_name: _HEADER + yaml.dump(crd(kind), Dumper=_Dumper, sort_keys=False, width=120, allow_unicode=True) for kind in KINDS
    }


class _Dumper(yaml.SafeDumper):
    """Writes shared nodes out in full: the API server does not care, but people read diffs."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002
        return True


def stale(folder: Path) -> list[str]:
    """Names of the files in a folder that are missing or differ from what the models say."""
    return [name for name, text in files().items() if not (folder / name).is_file() or (folder / name).read_text(encoding="utf-8") != text]


def main(arguments: Sequence[str]) -> int:
    """Write the files, or with `--check` only compare. Answers the exit code: 0, 1 (stale), 2 (usage)."""
    check, folders = "--check" in arguments, [Path(item) for item in arguments if not item.startswith("-")] or [Path("crds")]
    unknown = [item for item in arguments if item.startswith("-") and item != "--check"]
    if unknown:
        sys.stderr.write(f"error: unknown option {unknown[0]}\nusage: python -m canary.api.crd [--check] [DIR ...]\n")
        return 2
    code = 0
    for folder in folders:
        names = stale(folder)
        if check and names:
            sys.stderr.write(f"error: stale in {folder}: {', '.join(names)}\nhint: run python -m canary.api.crd {folder}\n")
            code = 1
        elif names:
            folder.mkdir(parents=True, exist_ok=True)
            for name in names:
                (folder / name).write_text(files()[name], encoding="utf-8")
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
