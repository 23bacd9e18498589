"""Go's text/template as far as metric queries use it. Expected texts were checked against Go's own text/template."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from canary.metrics.gotemplate import TemplateError, render
from canary.metrics.render import collapse

FUNCTIONS = {
    "namespace": lambda: "test",
    "target": lambda: "podinfo",
    "interval": lambda: "1m",
    "variables": lambda: {"direction": "inbound", "code": "404"},
}


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("up", "up"),
        ("{{ namespace }}-{{target}}", "test-podinfo"),
        ('a{ns="{{ namespace }}"}[{{ interval }}]', 'a{ns="test"}[1m]'),
        ("{{ variables.direction }}", "inbound"),
        ('{{ index variables "direction" }}', "inbound"),
        ('{{ index variables "nope" }}', ""),
        ('{{ printf "%s-%s" namespace target }}', "test-podinfo"),
        ('{{ printf "kube_%s__%d%%" target 5 }}', "kube_podinfo__5%"),
        ('{{ target | printf "%s!" }}', "podinfo!"),
        ('{{ printf "%q" target }}', '"podinfo"'),
        ("a  {{- namespace -}}  b", "atestb"),
        ("a {{/* why */}} b", "a  b"),
        ('{{ if eq namespace "test" }}yes{{ else }}no{{ end }}', "yes"),
        ('{{ if eq namespace "prod" "test" }}yes{{ end }}', "yes"),
        ('{{ if ne namespace "test" }}a{{ else if eq target "podinfo" }}b{{ else }}c{{ end }}', "b"),
        ('{{ if and (eq namespace "test") (not (eq target "x")) }}both{{ end }}', "both"),
        ("{{ with variables.code }}code {{ . }}{{ end }}", "code 404"),
        ("{{ with variables }}{{ .direction }}{{ end }}", "inbound"),
        ("{{ `raw \\d` }}", "raw \\d"),
        ('{{ "tab\\t" }}|', "tab\t|"),
        ("{{ len namespace }}", "4"),
        ("{{ 1.5 }} {{ 2 }} {{ true }}", "1.5 2 true"),
        ('{{ if or "" target }}x{{ end }}', "x"),
        ("}} {", "}} {"),
    ],
)
def test_what_queries_use_renders(template, expected):
    assert render(template, FUNCTIONS) == expected


@pytest.mark.parametrize(
    ("template", "why"),
    [
        ("{{ .Name }}", "cannot take .Name"),
        ("{{ nope }}", "'nope' is not defined"),
        ("{{ variables.nope }}", "no entry for key 'nope'"),
        ("{{ namespace", "unclosed action"),
        ("{{ if namespace }}", "missing {{ end }}"),
        ("{{ end }}", "unexpected {{ end }}"),
        ("{{ range variables }}{{ end }}", "not supported"),
        ("{{ }}", "empty action"),
        ("{{ namespace | 5 }}", "not a function"),
        ("{{ $x := 1 }}", "cannot read"),
        ('{{ printf "%s" (target }}', "missing )"),
        ("{{ if }}a{{ end }}", "needs a condition"),
        ("{{ lt 1 target }}", "lt:"),
    ],
)
def test_what_cannot_be_rendered_says_why(template, why):
    with pytest.raises(TemplateError) as caught:
        render(template, FUNCTIONS)
    assert why in str(caught.value)


@given(st.text(max_size=60))
def test_any_text_renders_or_fails_with_our_error(text):
    try:
        render(text, FUNCTIONS)
    except TemplateError:
        pass


@given(st.text(alphabet=st.characters(exclude_characters="{}"), max_size=60))
def test_text_without_actions_is_unchanged(text):
    assert render(text, FUNCTIONS) == text


def test_white_space_collapses_outside_quotes_only():
    assert collapse('  a\n  + b{x="two  spaces\\" \n"}\t\t* c ') == 'a + b{x="two  spaces\\" \n"} * c'
