"""What every router must hold to, whatever its mesh. A newcomer's router runs through this by having an entry point and a case.

Each function takes a router and one release, and asserts one promise.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

from canary.core.model import Cookies, Routes
from canary.core.release import FLUX_MARKERS, Options, Release
from canary.kube.ensure import differs
from canary.kube.resource import DEPLOYMENTS, SERVICES
from canary.routers.base import ObjectRef, Router, Wanted
from tests.routers.releases import UID, applied, nothing

SPLITS = (
    Routes(100, 0), Routes(99, 1), Routes(90, 10), Routes(67, 33), Routes(50, 50), Routes(1, 99), Routes(0, 100),
    Routes(99, 1, baseline=1), Routes(80, 20, baseline=20), Routes(67, 33, baseline=33), Routes(51, 49, baseline=25), Routes(50, 50, baseline=50),
)  # fmt: skip


def named(routes: Routes) -> str:
    """The id of a test at these routes."""
    return f"{routes.primary}-{routes.canary}" + (f"-{routes.baseline}" if routes.baseline else "")


def names_what_it_watches(router: Router, release: Release) -> None:
    assert {ref.resource for ref in router.objects(release)} <= set(router.resources())
    assert len(set(router.objects(release))) == len(router.objects(release))


def nothing_there_reads_as_none(router: Router, release: Release) -> None:
    if router.has_weights:
        assert router.read(release, nothing(router, release)) is None


def wants_only_its_own_objects(router: Router, release: Release) -> None:
    """All that it looks at are objects of the mesh that it writes, and what a baseline consists of."""
    wanted = router.wanted(release, nothing(router, release), Routes(90, 10, baseline=10))
    refs = {ObjectRef(one.resource, one.body["metadata"]["name"]) for one in wanted}
    assert refs == set(router.objects(release)) - {ObjectRef(SERVICES, release.apex_baseline), ObjectRef(DEPLOYMENTS, release.baseline)}
    for one in wanted:
        assert one.body["apiVersion"] == one.resource.api_version
        assert one.body["kind"] == one.resource.kind
        assert one.body["metadata"]["namespace"] == release.namespace


def weights_come_back(router: Router, release: Release, routes: Routes) -> None:
    """Set, then read: the same split, and the same mirroring."""
    if not router.has_weights:
        return
    live = applied(router.wanted(release, nothing(router, release), routes), nothing(router, release))
    assert router.read(release, live) == replace(routes, cookies=Cookies())


def repairing_keeps_the_weights(router: Router, release: Release, routes: Routes) -> None:
    """Read, then want what was read: nothing changes. So drift repair never moves traffic (Q4)."""
    if not router.has_weights:
        return
    live = applied(router.wanted(release, nothing(router, release), routes), nothing(router, release))
    read = router.read(release, live)
    assert isinstance(read, Routes)
    again = router.wanted(release, live, replace(read, cookies=routes.cookies))
    assert _specs(live) == _specs(applied(again, live))
    for one in again:
        assert differs(one, live[ObjectRef(one.resource, one.body["metadata"]["name"])]) == []


def every_split_is_written_explicitly(router: Router, release: Release) -> None:
    """A weight that is left out means something else on every mesh (Q32)."""
    for one in router.wanted(release, nothing(router, release), Routes(100, 0)):
        for leaf in _backends(one.body["spec"], release):
            assert "weight" in leaf, leaf


def without_a_share_nothing_names_the_baseline(router: Router, release: Release) -> None:
    """Before it runs, and again when it has gone: a mesh may refuse a whole route for one Service that does not exist."""
    for routes in (Routes(100, 0), Routes(50, 50), Routes(0, 100)):
        assert release.apex_baseline not in str([one.body for one in router.wanted(release, nothing(router, release), routes)])


def a_baseline_that_is_there_is_named_without_a_share(router: Router, release: Release) -> None:
    """Where backends are known by their routes alone (`objects.beside`); and only one that is ours, and stays."""
    owner = {"ownerReferences": [dict(release.owner_reference)]}
    refs = [ref for ref in router.objects(release) if ref.resource in {SERVICES, DEPLOYMENTS}]
    there = {ref: {"metadata": {"name": ref.name, "uid": "u", **owner}} for ref in refs}
    for routes in (Routes(100, 0), Routes(80, 20)):
        rules = [
            rule for one in router.wanted(release, nothing(router, release) | there, routes) for rule in _rules(one.body["spec"], release)
        ]
        named = [[leaf["weight"] for leaf in rule if _target(leaf) == release.apex_baseline] for rule in rules]
        assert [0] in named or not {ref.resource for ref in refs} >= {SERVICES, DEPLOYMENTS}
        live = applied(router.wanted(release, nothing(router, release) | there, routes), nothing(router, release) | there)
        assert not router.has_weights or router.read(release, live) == routes
        without_a_share_nothing_names_the_baseline(router, release)
    for ref in refs:
        for instead in ({}, {**owner, "deletionTimestamp": "2026-01-01T00:00:00Z"}):
            live = nothing(router, release) | there | {ref: {"metadata": {"name": ref.name, "uid": "u", **instead}}}
            assert release.apex_baseline not in str([one.body for one in router.wanted(release, live, Routes(100, 0))])


def the_baseline_is_part_of_the_primarys_share(router: Router, release: Release) -> None:
    """Users who may meet the canary meet the baseline as often; nobody else does, and the canary's weight is what it would be without."""
    plain, split = (router.wanted(release, nothing(router, release), routes) for routes in (Routes(80, 20), Routes(80, 20, baseline=15)))
    rules = [rule for one in split for rule in _rules(one.body["spec"], release)]
    old = [rule for one in plain for rule in _rules(one.body["spec"], release)]
    assert len(rules) == len(old)
    for rule, before in zip(rules, old, strict=True):
        shares, others = ({_target(leaf): leaf["weight"] for leaf in leaves} for leaves in (rule, before))
        if others.get(release.apex_canary) == 20:
            assert shares == {release.apex_primary: 65, release.apex_canary: 20, release.apex_baseline: 15}
        else:
            assert shares == others


def shares_sum_to_100(router: Router, release: Release, routes: Routes) -> None:
    for one in router.wanted(release, nothing(router, release), routes):
        for rule in _rules(one.body["spec"], release):
            assert sum(leaf["weight"] for leaf in rule) == 100, rule


def same_in_same_out(router: Router, release: Release, routes: Routes) -> None:
    """Deterministic, whatever order the user's maps came in, and without touching what it was given."""
    live = nothing(router, release)
    first = router.wanted(release, live, routes)
    frozen = copy.deepcopy(first)
    second = router.wanted(_shuffled(release), live, routes)
    assert frozen == first == second
    assert [_ordered(one) for one in first] == [_ordered(one) for one in second]
    standing = applied(first, live)
    before = copy.deepcopy(standing)
    router.wanted(release, standing, routes)
    router.read(release, standing)
    router.finalize(release, standing)
    assert standing == before


def new_objects_are_owned(router: Router, release: Release) -> None:
    for one in router.wanted(release, nothing(router, release), Routes(100, 0)):
        (owner,) = one.body["metadata"]["ownerReferences"]
        assert owner == dict(release.owner_reference)


def apex_objects_keep_flux_away(router: Router, release: Release) -> None:
    for one in router.wanted(release, nothing(router, release), Routes(100, 0)):
        if one.body["metadata"]["name"] == release.apex:
            assert FLUX_MARKERS.items() <= one.body["metadata"]["annotations"].items()


def found_objects_are_not_owned(router: Router, release: Release) -> None:
    """A user's own object outlives the Canary (E26)."""
    live = {ref: {**ref.resource.head(release.namespace, ref.name), "spec": {}} for ref in router.objects(release)}
    for one in router.wanted(release, live, Routes(100, 0)):
        assert "ownerReferences" not in one.body["metadata"]


def owned_objects_stay_owned(router: Router, release: Release) -> None:
    live = applied(router.wanted(release, nothing(router, release), Routes(100, 0)), nothing(router, release))
    for one in router.wanted(release, live, Routes(50, 50)):
        assert [owner["uid"] for owner in one.body["metadata"]["ownerReferences"]] == [UID]


def no_owner_across_clusters(router: Router, release: Release) -> None:
    away = replace(release, options=Options(separate_mesh_cluster=True))
    for one in router.wanted(away, nothing(router, away), Routes(100, 0)):
        assert "ownerReferences" not in one.body["metadata"]


def _specs(live: dict[ObjectRef, Any]) -> dict[ObjectRef, Any]:
    there = {ref: body for ref, body in live.items() if body is not None}
    return {ref: (body["spec"], body["metadata"].get("annotations"), body["metadata"].get("labels")) for ref, body in there.items()}


def _rules(spec: Any, release: Release) -> list[list[dict[str, Any]]]:
    """Every list of destinations in a spec, whatever the mesh calls it."""
    if isinstance(spec, dict):
        return [rule for value in spec.values() for rule in _rules(value, release)]
    if not isinstance(spec, list):
        return []
    if spec and all(
        isinstance(item, dict) and _target(item) in (release.apex_primary, release.apex_canary, release.apex_baseline) for item in spec
    ):
        return [spec]
    return [rule for item in spec for rule in _rules(item, release)]


def _backends(spec: Any, release: Release) -> list[dict[str, Any]]:
    return [leaf for rule in _rules(spec, release) for leaf in rule]


def _target(item: dict[str, Any]) -> object:
    return item.get("name") or (item.get("destination") or {}).get("host")


def _shuffled(release: Release) -> Release:
    """The same release, every map of its manifest written in another order."""
    canary = release.canary
    body = {"metadata": canary.metadata.to_dict(), "spec": canary.spec.to_dict(), "status": canary.status.to_dict()}
    return replace(release, canary=type(canary).model_validate(_reversed(body)))


def _reversed(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _reversed(item) for key, item in reversed(value.items())}
    return [_reversed(item) for item in value] if isinstance(value, list) else value


def _ordered(one: Wanted) -> str:
    """Lists keep their order in the text, maps do not matter."""
    import json

    return json.dumps(one.body, sort_keys=True)
