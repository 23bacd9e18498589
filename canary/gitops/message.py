"""Commit messages: a subject, why, and trailers that machines read.

Text from the cluster is sanitised before it goes in: a newline in a reason would be a forged trailer.
"""

from __future__ import annotations

import re

from canary.api.canaryrun import CanaryRun

RUN_TRAILER = "Canary-Run-Id"


def clean(text: str, *, limit: int = 200) -> str:
    """One line without control characters."""
    return re.sub(r"[\x00-\x1f\x7f\u2028\u2029]+", " ", text).strip()[:limit]


def trailers(run: CanaryRun, cluster: str) -> str:
    """The block at the end of every commit of ours."""
    fields = {
        RUN_TRAILER: run.metadata.name,
        "Canary-Outcome": run.status.outcome,
        "Canary-Object": f"{run.metadata.namespace}/{run.spec.canary_ref.name}",
        "Canary-Cluster": cluster,
    }
    return "\n".join(f"{key}: {clean(value)}" for key, value in fields.items())


def record_message(run: CanaryRun, cluster: str) -> str:
    """For the outcomes branch, which no pipeline needs to build."""
    subject = f"record({run.metadata.namespace}/{run.spec.canary_ref.name}): {run.status.outcome} on {cluster} [skip ci]"
    return f"{clean(subject)}\n\n{clean(run.status.reason) or 'All checks passed.'}\n\n{trailers(run, cluster)}\n"


def revert_message(run: CanaryRun, cluster: str, changes: list[tuple[str, str]]) -> str:
    """For the branch that the cluster is delivered from; `changes` are (from, to) images."""
    tags = ", ".join(f"{_short(old)} -> {_short(new)}" for old, new in changes)
    subject = f"canary({run.metadata.namespace}/{run.spec.canary_ref.name}): revert {tags}, analysis failed on {cluster}"
    lines = [f"- {clean(old)} back to {clean(new)}" for old, new in changes]
    why = clean(run.status.reason) or "The analysis failed."
    return f"{clean(subject)}\n\n{why}\n\n" + "\n".join(lines) + f"\n\n{trailers(run, cluster)}\n"


def _short(image: str) -> str:
    """The tag or digest of an image, else all of it."""
    name = image.rpartition("/")[2]
    return name.partition("@")[2][:19] or name.partition(":")[2] or name
