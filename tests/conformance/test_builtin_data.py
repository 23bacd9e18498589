"""`canary/sandbox/builtin.json` says what the real server says of its kinds."""

import pytest

from canary.sandbox.builtin import KINDS, definitions
from tests.conformance.driver import Driver
from tests.conformance.openapi_facts import facts, without_marks


async def test_published_schemas_of_the_sandbox_are_its_data(api: Driver) -> None:
    """On the real server this proves the file; on the sandbox that it publishes what it has."""
    differing: dict[str, object] = {}
    for group, version in sorted({(row.group, row.version) for row in KINDS}):
        path = f"/openapi/v3/apis/{group}/{version}" if group else f"/openapi/v3/api/{version}"
        found = facts((await api.call("GET", path, expect=200)).body["components"]["schemas"])
        for name, schema in found.items():
            if name in definitions() and schema != without_marks(definitions()[name]):
                differing[name] = schema
    assert differing == {}


@pytest.mark.parametrize("row", KINDS, ids=lambda row: f"{row.group or 'core'}-{row.plural}")
def test_every_kind_has_its_definition(row: object) -> None:
    assert row.definition in definitions()  # type: ignore[attr-defined]


def test_every_reference_leads_somewhere() -> None:
    def references(value: object) -> set[str]:
        if isinstance(value, dict):
            own = {value["$ref"]} if isinstance(value.get("$ref"), str) else set()
            return own.union(*(references(one) for one in value.values()))
        return set().union(*(references(one) for one in value)) if isinstance(value, list) else set()

    assert references(definitions()) <= set(definitions())


def test_field_numbers_cover_every_field() -> None:
    def named(numbers: dict[str, object]) -> set[str]:
        return set().union(*(named(one) if isinstance(one, dict) else {one} for one in numbers.values()))

    for name, definition in definitions().items():
        if "x-proto" in definition:
            assert named(definition["x-proto"]) | {"apiVersion", "kind"} >= set(definition["properties"]), name
