from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.loadtest.support import LoadTester, QuickLoadTester, load_tester


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoadTester]:
    """One load tester with default flags, for tests that leave nothing behind that others would trip over."""
    with load_tester(tmp_path_factory.mktemp("load-tester")) as found:
        yield found


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., LoadTester]]:
    """Starts processes with flags of the test's own."""
    with ExitStack() as stack:
        yield lambda *flags, path=None: stack.enter_context(load_tester(tmp_path / "run", *flags, path=path))


@pytest.fixture
def quick() -> Iterator[Callable[..., QuickLoadTester]]:
    """Starts load testers on threads, for tests of flags that have nothing to do with the process."""
    with ExitStack() as stack:

        def begin(*flags: str, path: str | None = None) -> QuickLoadTester:
            found = QuickLoadTester(*flags, path=path)
            stack.callback(found.close)
            return found

        yield begin
