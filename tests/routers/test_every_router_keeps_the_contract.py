"""The contract of `tests.routers.contract`, over every installed router and every feature that has a golden manifest."""

import pytest

from canary.routers import registry
from tests.routers import contract
from tests.routers.cases import CASES, Case

cases = pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)


def test_every_installed_router_has_cases():
    assert {case.provider for case in CASES} == set(registry.providers())


@cases
@pytest.mark.parametrize(
    "promise",
    [
        contract.names_what_it_watches,
        contract.nothing_there_reads_as_none,
        contract.wants_only_its_own_objects,
        contract.every_split_is_written_explicitly,
        contract.without_a_share_nothing_names_the_baseline,
        contract.a_baseline_that_is_there_is_named_without_a_share,
        contract.the_baseline_is_part_of_the_primarys_share,
        contract.new_objects_are_owned,
        contract.apex_objects_keep_flux_away,
        contract.found_objects_are_not_owned,
        contract.owned_objects_stay_owned,
        contract.no_owner_across_clusters,
    ],
    ids=lambda promise: promise.__name__,
)
def test_promise(case: Case, promise):
    promise(registry.router(case.provider), case.release())


@cases
@pytest.mark.parametrize(
    "promise",
    [contract.weights_come_back, contract.repairing_keeps_the_weights, contract.shares_sum_to_100, contract.same_in_same_out],
    ids=lambda promise: promise.__name__,
)
def test_promise_at_every_split(case: Case, promise):
    """In one test, since a test of its own for each split would cost more than what it asks."""
    router, release = registry.router(case.provider), case.release()
    for routes in contract.SPLITS:
        try:
            promise(router, release, routes)
        except Exception as error:
            error.add_note(f"at {contract.named(routes)}")
            raise


@cases
@pytest.mark.parametrize(
    "promise",
    [contract.weights_come_back, contract.repairing_keeps_the_weights, contract.shares_sum_to_100, contract.same_in_same_out],
    ids=lambda promise: promise.__name__,
)
def test_promise_at_the_routes_of_the_case(case: Case, promise):
    promise(registry.router(case.provider), case.release(), case.routes)
