"""Who is measured: this checkout's operator, and the peer when FLAGGER_BIN names its binary.

Both get the same user, the same mesh provider, the same Prometheus; each its own CustomResourceDefinitions. The peer's own limit of
100 API requests a second is raised, because at some hundred canaries it would be all that is measured; `--peer-flag` overrides that.
"""

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.testbed.mesh import crds_folder

ROOT = Path(__file__).parents[1]
PORT = 8181
PROMETHEUS_PORT = 9090
_SHARED = ("-mesh-provider=contour", f"-metrics-server=http://127.0.0.1:{PROMETHEUS_PORT}", f"-port={PORT}", "-log-level=info")
PEER_FLAGS = ("-kubeconfig-qps=5000", "-kubeconfig-burst=5000")


class UsageError(Exception):
    """What was asked for cannot be measured here; one line: what, and how to mend it."""


@dataclass(frozen=True)
class Contestant:
    """`extended`: it knows intervals under 10 s, the canary_* metrics, and so on."""

    name: str
    version: str
    command: tuple[str, ...]
    crds: tuple[Path, ...]
    extended: bool


def ours() -> Contestant:
    """`canary run` from this checkout, as its users run it."""
    from canary import __version__

    command = (sys.executable, "-m", "canary.cli.main", "run", *_SHARED)
    return Contestant("ours", f"canary {__version__}", command, (*sorted((ROOT / "crds").glob("*.yaml")), contour()), extended=True)


def peer(flags: Sequence[str] = PEER_FLAGS) -> Contestant:
    """The binary that FLAGGER_BIN names. Raises UsageError."""
    named = os.environ.get("FLAGGER_BIN", "")
    if not named:
        raise UsageError("--peer: set FLAGGER_BIN to the peer's binary (the project does not build it)")
    try:
        said = subprocess.run([named, "-version"], capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UsageError(f"FLAGGER_BIN: {named} cannot be run: {error}") from None
    version = (said.stdout + said.stderr).strip().splitlines()
    definitions = crds_folder() / "flagger.yaml"
    if not definitions.is_file():
        raise UsageError(f"the peer's CRDs are not there: no {definitions.name} in the folder that CANARY_MESH_CRDS names")
    shown = version[0].split(" revision")[0] if version else "unknown version"
    return Contestant(
        "peer", f"{shown}, {' '.join(flags)}".rstrip(", "), (named, *_SHARED, *flags), (definitions, contour()), extended=False
    )


def contour() -> Path:
    """Contour's CRDs. Raises UsageError."""
    found = crds_folder() / "contour.yaml"
    if not found.is_file():
        raise UsageError("no contour.yaml: set CANARY_MESH_CRDS to the folder of third-party CRDs")
    return found
