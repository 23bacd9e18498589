"""A Kubernetes API server inside this process, and small stand-ins for what usually surrounds one.

Why: the demo must run without a cluster, and the operator's tests must meet real conflicts, watches, ownership and pruning in milliseconds.
Rejected: a recorded fake (it agrees with whatever the code believes), KMock 0.8 (no resource versions, no status isolation), and starting a
real control plane for every test (it is the oracle of the conformance suite in `tests/conformance`, not its replacement).
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from canary.sandbox.server import ApiServer

__all__ = ["ApiServer"]


def __getattr__(name: str) -> Any:
    """The API server is imported when it is asked for: `python -m canary.sandbox.programs` and the command line need none of it."""
    if name == "ApiServer":
        from canary.sandbox.server import ApiServer

        return ApiServer
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
