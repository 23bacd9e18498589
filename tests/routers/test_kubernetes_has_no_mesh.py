import pytest

from canary.core.model import Routes
from canary.routers.kubernetes import KubernetesRouter
from tests.routers.releases import release

router = KubernetesRouter()


@pytest.mark.parametrize(("iterations", "routes"), [(0, Routes(100, 0)), (-1, Routes(100, 0)), (1, Routes(0, 100)), (9, Routes(0, 100))])
def test_weights_follow_the_iteration_counter(iterations, routes):
    of = release("kubernetes", "analysis: {iterations: 9}", iterations=iterations)
    assert router.read(of, {}) == routes


def test_it_owns_nothing_and_cannot_mirror():
    of = release("kubernetes", "analysis: {iterations: 9, mirror: true}")
    assert router.resources() == router.objects(of) == ()
    assert router.wanted(of, {}, Routes(0, 100)) == router.finalize(of, {}) == ()
    assert not router.can_mirror(of)
    assert not router.has_weights
