"""What e2e tests stand on, and how those of one module run at the same time.

A release takes ten seconds of waiting and little work, so tests that ask for `stage` are started together, each in a thread, a namespace and
an application of its own, with the first of their module; each then waits for its own end. They share the module's operator, which sees
all of them at once, as in life. A test takes nothing but `stage` (and parameters), because fixtures belong to pytest's thread. Rejected:
pytest-xdist, which would start a cluster per worker.

A module may set OPERATOR_FLAGS (list) for its operator; None means that its tests start their own.
"""

import itertools
import os
import traceback
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import pytest

from tests.e2e.loadtester import LoadTester
from tests.e2e.names import Names
from tests.e2e.operators import CRDS, operator
from tests.e2e.stage import Parts, staged
from tests.testbed.cluster import Cluster
from tests.testbed.mesh import Mesh

AT_ONCE = 8
_NAMES = (f"e2e-{os.getpid()}-{number}" for number in itertools.count(1))


@pytest.fixture(scope="package")
def mesh(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    """One data plane for all modules of this folder: a fresh one costs six seconds."""
    with Mesh(cluster, tmp_path_factory.mktemp("mesh")) as started:
        yield started


@pytest.fixture(scope="package")
def crds(cluster: Cluster) -> None:
    """The CRDs of this checkout."""
    cluster.crds(*sorted(CRDS.glob("*.yaml")))


class House:
    """The module's operator and load tester, and the tests that run on them."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self._pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="stage")
        self._outcomes: dict[str, Future[None]] = {}

    def outcome(self, item: pytest.Function) -> None:
        """Start all tests of the item's module with the first, and raise what this one raised."""
        if not self._outcomes:
            mine = [one for one in item.session.items if isinstance(one, pytest.Function) and one.module is item.module]
            for one in mine:
                if "stage" in one.fixturenames:
                    self._outcomes[one.nodeid] = self._pool.submit(self._play, one)
        self._outcomes[item.nodeid].result()

    def close(self) -> None:
        """Forget what has not begun; wait for what has."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _play(self, item: pytest.Function) -> None:
        cluster = self.parts.cluster
        namespace = cluster.create_namespace(next(_NAMES))
        parameters: dict[str, Any] = item.callspec.params if hasattr(item, "callspec") else {}
        with staged(self.parts, namespace) as stage:
            try:
                item.obj(stage, **parameters)
            except Exception as error:
                error.add_note(f"--- operator on {namespace}\n" + _quietly(lambda: stage.operator.log(namespace)))
                error.add_note("--- events\n" + _quietly(lambda: "\n".join(stage.messages())))
                raise
            finally:
                cluster.delete_namespace(namespace)


def _quietly(text: Any) -> str:
    try:
        return str(text())
    except Exception:
        return traceback.format_exc(limit=1)


@pytest.fixture(scope="module")
def house(
    cluster: Cluster, mesh: Mesh, crds: None, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[House]:
    """An operator for Contour (canaries may name other providers) and a load tester, whose commands know the names of Services."""
    folder = tmp_path_factory.mktemp("house")
    flags = getattr(request.module, "OPERATOR_FLAGS", [])
    with ExitStack() as parts:
        running = load_tester = None
        if flags is not None:
            names = parts.enter_context(Names())
            running = parts.enter_context(operator(cluster, folder, *flags))
            load_tester = LoadTester(folder, http_proxy=names.url)
            parts.callback(load_tester.stop)
            load_tester.wait_ready()
        house = House(Parts(cluster, mesh, running, load_tester, folder))
        parts.callback(house.close)
        yield house


@pytest.fixture
def stage(house: House) -> None:
    """Asking for it makes a test one of those that run together; the Stage itself is made in the test's thread."""


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Wait for a test that runs in its own thread; all others run as usual."""
    if "stage" not in pyfuncitem.fixturenames:
        return None
    pyfuncitem.funcargs["house"].outcome(pyfuncitem)
    return True
