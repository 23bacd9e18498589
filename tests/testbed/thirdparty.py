"""CustomResourceDefinitions of meshes and of upstream: used from where they are, never committed, and never missed in silence.

A test that needs some asks here. At home it is skipped with the sentence that mends it; where CI is true a skip would be a hole.
"""

import os
from pathlib import Path

import pytest

from tests.testbed.mesh import crds_folder


def third_party_crds(*names: str) -> list[Path]:
    """The files of these names (`istio`, `contour`, ...), or all there are. Ends the test when one is missing."""
    folder = crds_folder()
    files = [folder / f"{name}.yaml" for name in names] or sorted(folder.glob("*.yaml"))
    absent = [file.name for file in files if not file.is_file()] if files else ["*.yaml"]
    if absent:
        reason = f"no {', '.join(absent)} in {folder}: set CANARY_MESH_CRDS to the folder of third-party CRDs"
        if os.environ.get("CI", "").lower() in {"true", "1"}:
            pytest.fail(f"CI must run this test: {reason}", pytrace=False)
        pytest.skip(reason)
    return files
