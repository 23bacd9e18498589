"""From a query template to the text that is asked: upstream's functions over one canary (reference flagger-analysis 1.5)."""

from __future__ import annotations

from collections.abc import Mapping

from canary.api.canary import Canary
from canary.metrics.gotemplate import TemplateError, render


def render_query(
    template: str,
    canary: Canary,
    *,
    interval: str,
    variables: Mapping[str, str] | None = None,
    route: str = "",
    one_line: bool = True,
    arm: str = "",
) -> str:
    """The rendered query; with `one_line` every run of white space outside quotes is collapsed to one space.

    Languages in which a line's end means something (SignalFlow, comments of Flux) need `one_line=False`. `route` overrides the route's name (Knative: the latest created revision). `arm`: the query is about this version, `canary`, `primary` or `baseline`, and may say `{{ arm }}`
    and `{{ workload }}`, which is what that version's workload is called. Raises TemplateError, with the canary's own
    vocabulary in the text when a function is unknown.
    """
    spec = canary.spec
    target = spec.target_ref.name
    service = (spec.service.name if spec.service else None) or target
    values: dict[str, object] = {
        "name": canary.metadata.name,
        "namespace": canary.metadata.namespace,
        "target": target,
        "service": service,
        "ingress": spec.ingress_ref.name if spec.ingress_ref else target,
        "route": route or (spec.route_ref.name if spec.route_ref else target),
        "interval": interval,
        "variables": dict(variables or {}),
    }
    if arm:
        values |= {"arm": arm, "workload": target if arm == "canary" else f"{target}-{arm}"}
    functions = {name: (lambda value=value: value) for name, value in values.items()}
    try:
        text = render(template, functions)
        return collapse(text) if one_line else text.strip()
    except TemplateError as error:
        if "is not defined" in str(error):
            raise TemplateError(f"{error}; a query may use {', '.join(values)}") from error
        raise


def collapse(text: str) -> str:
    """One space for every run of white space, except inside quoted strings (upstream collapses there too, which changes them)."""
    out: list[str] = []
    quote = ""
    space = escaped = False
    for char in text.strip():
        if quote:
            out.append(char)
            if escaped:
                escaped = False
            elif char == "\\" and quote != "`":
                escaped = True
            elif char == quote:
                quote = ""
        elif char.isspace():
            space = True
        else:
            if space:
                out.append(" ")
                space = False
            quote = char if char in "\"'`" else ""
            out.append(char)
    return "".join(out)
