"""Fixtures and hooks for all tests; what they do is in `tests/testbed/plugin.py`."""

from tests.testbed.plugin import (
    cluster,
    mesh,
    namespace,
    pytest_collection,
    pytest_collection_modifyitems,
    pytest_configure,
    pytest_runtest_makereport,
    pytest_runtest_setup,
)

__all__ = [
    "cluster",
    "mesh",
    "namespace",
    "pytest_collection",
    "pytest_collection_modifyitems",
    "pytest_configure",
    "pytest_runtest_makereport",
    "pytest_runtest_setup",
]
