"""Upstream's CRDs as bare facts: names, types, enums, patterns and rules, without a word of prose.

`upstream_crds.json` is condensed from the CRD file of Flagger 1.44.0, so that these tests need nothing beside the checkout. Where
that file is at hand (CANARY_MESH_CRDS), a test holds the two against each other. To condense anew:

    python -m tests.api.upstream
"""

import functools
import json
from pathlib import Path
from typing import Any

from tests.testbed.documents import document, documents
from tests.testbed.mesh import crds_folder

HERE = Path(__file__).parent
REPOSITORY = HERE.parent.parent
CONDENSED = HERE / "upstream_crds.json"
SOURCE = crds_folder() / "flagger.yaml"


@functools.cache
def upstream_crds() -> dict[str, dict[str, Any]]:
    """Upstream's CRDs by name, condensed. Shared: do not change them."""
    return {crd["metadata"]["name"]: crd for crd in json.loads(CONDENSED.read_text(encoding="utf-8"))}


@functools.cache
def our_crds() -> dict[str, dict[str, Any]]:
    """Our CRDs by name, as committed in crds/. Shared: do not change them."""
    found = [document(path.read_text(encoding="utf-8")) for path in sorted((REPOSITORY / "crds").glob("*.yaml"))]
    return {crd["metadata"]["name"]: crd for crd in found}


def root_schema(crd: dict[str, Any], version: str = "v1beta1") -> dict[str, Any]:
    """`openAPIV3Schema` of one version."""
    found = next(item for item in crd["spec"]["versions"] if item["name"] == version)
    return found["schema"]["openAPIV3Schema"]


def condense(node: Any, *, named: bool = False) -> Any:
    """Without descriptions and messages. `named`: the keys of this mapping are property names, not keywords."""
    if isinstance(node, dict):
        prose = () if named else ("description", "message")
        return {key: condense(value, named=key == "properties" and not named) for key, value in node.items() if key not in prose}
    return [condense(item) for item in node] if isinstance(node, list) else node


def condensed_source() -> str:
    """What the condensed file should hold."""
    crds = documents(SOURCE.read_text(encoding="utf-8"))
    return json.dumps(condense(crds), separators=(",", ":")) + "\n"


if __name__ == "__main__":
    CONDENSED.write_text(condensed_source(), encoding="utf-8")
