"""The examples and tables of docs/reference/metric-providers.md against the code."""

import re
from pathlib import Path

import pytest
import yaml

from canary.api.metrictemplate import METRIC_PROVIDERS, parse_metric_template
from tests.metrics.cases import CASES
from tests.metrics.support import ask, cluster_with

PAGE = Path(__file__).parents[2] / "docs/reference/metric-providers.md"
DOCUMENTS = [document for block in re.findall(r"```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL) for document in yaml.safe_load_all(block)]
TEMPLATES = [document for document in DOCUMENTS if document["kind"] == "MetricTemplate"]
PROMETHEUS = {"status": "success", "data": {"resultType": "vector", "result": [{"metric": {}, "value": [1, "4"]}]}}
SECRETS = {document["metadata"]["name"]: document["stringData"] for document in DOCUMENTS if document["kind"] == "Secret"}


@pytest.mark.parametrize("document", TEMPLATES, ids=lambda document: document["metadata"]["name"])
async def test_an_example_is_accepted_and_asked(server, monkeypatch, document):
    template = parse_metric_template(document)
    provider = {**document["spec"]["provider"]}
    kind, secret = provider.pop("type"), provider.pop("secretRef", None)
    if provider.get("address"):
        provider["address"] = server.url
    monkeypatch.setenv("AWS_ENDPOINT_URL_CLOUDWATCH", server.url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AK")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s")
    cases = {case.kind: case.one for case in CASES}
    server.body = cases[kind](4) if kind in cases else PROMETHEUS
    cluster = cluster_with(kind, template.spec.query, secret=SECRETS[secret["name"]] if secret else None, **provider)
    sample = await ask(cluster)
    assert (sample.value, sample.error) == (4, "")
    assert "podinfo" in server.last.raw + server.last.body.decode()


def test_the_table_lists_every_kind_with_the_keys_that_it_needs():
    rows = dict(re.findall(r"^\| `([a-z]+)` \|(.*)\|$", PAGE.read_text(), re.MULTILINE))
    assert set(rows) - {"type"} == set(METRIC_PROVIDERS)
    for case in CASES:
        assert [key for key in (*case.needed, *case.secret) if f"`{key}`" not in rows[case.kind]] == []


def test_the_link_to_the_differences_leads_somewhere():
    assert "## Metric sources" in (PAGE.parent / "differences.md").read_text()
