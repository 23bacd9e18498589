"""One canary with every name that follows from it, as the plug-ins need it.

Routers, targets and metric providers all derive names (`<apex>-primary`, selector label, Service ports) from the same
few facts. Computing them once, here, keeps a mesh to one file and keeps two plug-ins from disagreeing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from canary.api.canary import Canary


@dataclass(frozen=True, slots=True)
class Options:
    """The operator's flags that shape generated objects; defaults are upstream's (reference 4.1)."""

    selector_labels: tuple[str, ...] = ("app", "name", "app.kubernetes.io/name")
    """Candidate selector keys, in order."""
    include_label_prefixes: tuple[str, ...] = ()
    """Prefixes of label (and, at promotion, annotation) keys copied to primaries; `*` is all."""
    config_tracking: bool = True
    ingress_class: str = ""
    """`ingressClassName` of generated HTTPProxies."""
    ingress_annotations_prefix: str = "nginx.ingress.kubernetes.io"
    default_gateway: str = ""
    """`<namespace>/<name>` of the Gateway for canaries on the Gateway API that name none."""
    separate_mesh_cluster: bool = False
    """Mesh objects live on another API server: no owner references across clusters."""


@dataclass(frozen=True, slots=True)
class Port:
    """One more port of the generated Services, found on the target's containers."""

    name: str
    port: int
    protocol: str = "TCP"


@dataclass(frozen=True, slots=True)
class Release:
    """A canary and what follows from its spec and its target's selector.

    `label`/`label_value`: the selector key L and value V of the target (reference 2.13); the primary's value is
    `V-primary`. `ports`: discovered container ports (empty without `portDiscovery`).
    """

    canary: Canary
    provider: str
    label: str
    label_value: str
    ports: tuple[Port, ...] = ()
    options: Options = field(default_factory=Options)

    @property
    def namespace(self) -> str:
        return self.canary.metadata.namespace

    @property
    def name(self) -> str:
        return self.canary.metadata.name

    @property
    def target(self) -> str:
        """`spec.targetRef.name`."""
        return self.canary.spec.target_ref.name

    @property
    def primary(self) -> str:
        """Name of the primary workload."""
        return f"{self.target}-primary"

    @property
    def primary_label_value(self) -> str:
        return f"{self.label_value}-primary"

    @property
    def baseline(self) -> str:
        """Name of the baseline workload: the old version once more, begun with the canary and of its size."""
        return f"{self.target}-baseline"

    @property
    def baseline_label_value(self) -> str:
        return f"{self.label_value}-baseline"

    @property
    def apex(self) -> str:
        """`spec.service.name`, else the target's name: the Service users call, and the name of every mesh object."""
        service = self.canary.spec.service
        return (service.name if service else None) or self.target

    @property
    def apex_primary(self) -> str:
        return f"{self.apex}-primary"

    @property
    def apex_canary(self) -> str:
        return f"{self.apex}-canary"

    @property
    def apex_baseline(self) -> str:
        return f"{self.apex}-baseline"

    @property
    def owner_reference(self) -> Mapping[str, object]:
        """The Canary as controller of a generated object (reference 3.1)."""
        meta = self.canary.metadata
        return {
            "apiVersion": "flagger.app/v1beta1",
            "kind": "Canary",
            "name": meta.name,
            "uid": meta.uid,
            "controller": True,
            "blockOwnerDeletion": True,
        }


FLUX_MARKERS: Mapping[str, str] = {
    "kustomize.toolkit.fluxcd.io/reconcile": "disabled",
    "helm.toolkit.fluxcd.io/driftDetection": "disabled",
}
"""Annotations on generated Services and mesh objects, so that Flux leaves them alone (asserted by upstream's e2e)."""
