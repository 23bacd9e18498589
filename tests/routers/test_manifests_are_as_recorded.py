"""Golden manifests: one file per router and feature. `CANARY_UPDATE_GOLDEN=1 pytest tests/routers` writes them anew; read the diff."""

import os

import pytest
import yaml

from canary.routers import registry
from tests.routers.cases import CASES, GOLDEN, Case
from tests.routers.releases import nothing


class _Plain(yaml.SafeDumper):
    """No anchors: each rule is written out."""

    def ignore_aliases(self, data):
        return True


def manifests(case: Case) -> list[dict]:
    router, release = registry.router(case.provider), case.release()
    return [one.body for one in router.wanted(release, nothing(router, release), case.routes)]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_manifest(case: Case):
    found = manifests(case)
    if os.environ.get("CANARY_UPDATE_GOLDEN"):
        case.golden.parent.mkdir(parents=True, exist_ok=True)
        case.golden.write_text(yaml.dump_all(found, Dumper=_Plain, sort_keys=True, width=140))
    assert found == list(yaml.safe_load_all(case.golden.read_text()))


def test_no_golden_file_is_left_over():
    assert {path for path in GOLDEN.rglob("*.yaml")} == {case.golden for case in CASES}
