"""The programs of the test bed: find them here; build what is missing with `python -m tests.testbed.tools`.

Finding never builds: a cold build takes about ten minutes and needs the network, which a test run must not.
"""

from tests.testbed.tools.find import ToolMissingError, cache_folder, crds, find, missing
from tests.testbed.tools.pins import CLUSTER, FLUX, MESH, PINS

__all__ = ["CLUSTER", "FLUX", "MESH", "PINS", "ToolMissingError", "cache_folder", "crds", "find", "missing"]
