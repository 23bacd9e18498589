"""Where a pod template names ConfigMaps and Secrets: one walk, used to find, to rename and to rename back.

Three walks (find, rename, undo) were rejected: they would drift apart, and a reference that is tracked but not renamed makes
the primary run with the canary's configuration. Not walked, as upstream: ephemeral containers, imagePullSecrets, CSI volumes.
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from canary.kube.resource import CONFIG_MAPS, SECRETS, Object, Resource
from canary.targets.objects import SUFFIX


class ConfigKind(enum.StrEnum):
    """First half of a key of `status.trackedConfigs`."""

    CONFIG_MAP = "configmap"
    SECRET = "secret"  # noqa: S105  (a kind, not a password)

    @property
    def resource(self) -> Resource:
        """The API resource of this kind."""
        return CONFIG_MAPS if self is ConfigKind.CONFIG_MAP else SECRETS


def split_key(key: str) -> tuple[ConfigKind, str]:
    """Kind and name in `configmap/<n>` or `secret/<n>`."""
    kind, _, name = key.partition("/")
    return ConfigKind(kind), name


@dataclass(frozen=True, slots=True)
class Reference:
    """One mention of a ConfigMap or Secret: `holder[field]` is its name. `optional`: pods start without it."""

    kind: ConfigKind
    holder: Object
    field: str
    optional: bool

    @property
    def name(self) -> str:
        """Name of the object."""
        return str(self.holder[self.field])

    @property
    def key(self) -> str:
        """`configmap/<name>` or `secret/<name>`."""
        return f"{self.kind}/{self.name}"


def references(template: Mapping[str, Any]) -> Iterator[Reference]:
    """All mentions in a pod template, in upstream's order: volumes, containers, init containers."""
    spec = template.get("spec") or {}
    for volume in spec.get("volumes") or ():
        yield from _mention(ConfigKind.CONFIG_MAP, volume.get("configMap"))
        yield from _mention(ConfigKind.SECRET, volume.get("secret"), field="secretName")
        for source in (volume.get("projected") or {}).get("sources") or ():
            yield from _mention(ConfigKind.CONFIG_MAP, source.get("configMap"))
            yield from _mention(ConfigKind.SECRET, source.get("secret"))
    for container in (*(spec.get("containers") or ()), *(spec.get("initContainers") or ())):
        for env in container.get("env") or ():
            origin = env.get("valueFrom") or {}
            yield from _mention(ConfigKind.CONFIG_MAP, origin.get("configMapKeyRef"))
            yield from _mention(ConfigKind.SECRET, origin.get("secretKeyRef"))
        for source in container.get("envFrom") or ():
            yield from _mention(ConfigKind.CONFIG_MAP, source.get("configMapRef"))
            yield from _mention(ConfigKind.SECRET, source.get("secretRef"))


def _mention(kind: ConfigKind, holder: Object | None, *, field: str = "name") -> Iterator[Reference]:
    if holder and holder.get(field):
        yield Reference(kind, holder, field, optional=bool(holder.get("optional")))


def mandatory(template: Mapping[str, Any]) -> dict[str, bool]:
    """Key to "must exist", each object once; with several mentions the last one decides (reference 2.14)."""
    return {reference.key: not reference.optional for reference in references(template)}


def rename(template: Object, configs: Collection[str]) -> None:
    """Append `-primary` to every mention of these keys, in place."""
    for reference in references(template):
        if reference.key in configs:
            reference.holder[reference.field] = reference.name + SUFFIX


def rename_back(template: Object, configs: Collection[str]) -> None:
    """Take `-primary` off every mention whose bare name is among these keys, in place."""
    for reference in references(template):
        bare = reference.name.removesuffix(SUFFIX)
        if bare != reference.name and f"{reference.kind}/{bare}" in configs:
            reference.holder[reference.field] = bare
