"""CustomResourceDefinitions of meshes and of upstream: used from where they are, never committed, and never missed in silence.

A test that needs some asks here. At home it is skipped with the sentence that mends it; where CI is true a skip would be a hole.
"""

from pathlib import Path

from tests.testbed.absence import absent
from tests.testbed.mesh import crds_folder


def third_party_crds(*names: str) -> list[Path]:
    """The files of these names (`istio`, `contour`, ...), or all there are. Ends the test when one is missing."""
    folder = crds_folder()
    files = [folder / f"{name}.yaml" for name in names] or sorted(folder.glob("*.yaml"))
    gone = [file.name for file in files if not file.is_file()] if files else ["*.yaml"]
    if gone:
        reason = f"no {', '.join(gone)} in {folder}: set CANARY_MESH_CRDS to the folder of third-party CRDs"
        absent(reason)
    return files
