"""Commit messages: a subject, why, and trailers that machines read.

Text from the cluster is sanitised before it goes in: a newline in a reason would be a forged trailer, `[skip ci]` in it would switch the
pipeline of a manifest off. The trailer `Canary-Effect` is how a commit of ours is found again after a crash; it names the effect, because
record and revert of one run may go to one branch.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from canary.api.canaryrun import CanaryRun
from canary.gitops.failures import plain

EFFECT_TRAILER = "Canary-Effect"
_SKIP = re.compile(r"\[(skip ci|ci skip|no ci|skip actions|actions skip|skip netlify|skip vercel)\]|\*\*\*NO_CI\*\*\*", re.IGNORECASE)

_DEFAULT_WHY = {"succeeded": "All checks passed.", "failed": "The analysis failed."}


def clean(text: str, *, limit: int = 200) -> str:
    """One line without control characters and without words that would switch off a pipeline."""
    return _SKIP.sub(lambda found: found[0].strip("[]*"), plain(text))[:limit].strip()


def record_effect(path: str) -> str:
    """Names the writing of one record."""
    return f"record {path}"


def amend_effect(path: str) -> str:
    """Names the writing of the revert into a record."""
    return f"amend {path}"


def revert_effect(run: CanaryRun) -> str:
    """Names the revert of one run."""
    return f"revert {run.metadata.name}"


def reverted(effects: Iterable[str]) -> set[str]:
    """Names of the runs whose reverts are among these effects."""
    return {name for kind, _, name in (effect.partition(" ") for effect in effects) if kind == "revert" and name}


def record_message(runs: Sequence[CanaryRun], cluster: str, *, paths: Sequence[str]) -> str:
    """For the outcomes branch, which no pipeline needs to build. `paths`: where the records of these runs are."""
    what = f"record({_object(runs[0])}): {runs[0].status.outcome}" if len(runs) == 1 else f"record: outcomes of {len(runs)} runs"
    lines = [_why(run) for run in runs] if len(runs) == 1 else [f"- {_object(run)} {run.status.outcome}: {_why(run)}" for run in runs]
    block = [line for run, path in zip(runs, paths, strict=True) for line in _trailers(run, cluster, effect=record_effect(path))]
    return _message(f"{clean(what, limit=150)} on {clean(cluster, limit=40)} [skip ci]", lines, block)


def amend_message(runs: Sequence[CanaryRun], cluster: str, *, paths: Sequence[str], refs: Sequence[str]) -> str:
    """For the outcomes branch. `refs`: the commits or the pull requests that took these runs back."""
    what = f"record({_object(runs[0])}): reverted" if len(runs) == 1 else f"record: reverts of {len(runs)} runs"
    lines = [f"- {_object(run)} was taken back by {clean(ref)}" for run, ref in zip(runs, refs, strict=True)]
    block = [line for run, path in zip(runs, paths, strict=True) for line in _trailers(run, cluster, effect=amend_effect(path))]
    return _message(f"{clean(what, limit=150)} on {clean(cluster, limit=40)} [skip ci]", lines, block)


def revert_message(run: CanaryRun, cluster: str, changes: Sequence[tuple[str, str]], notes: Sequence[str] = ()) -> str:
    """For the branch that the cluster is delivered from; `changes` are (from, to) images, `notes` what else a person should know."""
    tags = ", ".join(f"{_short(old)} -> {_short(new)}" for old, new in changes)
    subject = clean(f"canary({_object(run)}): revert {tags}, analysis failed on {cluster}")
    lines = [_why(run), "", *(f"- {clean(old)} back to {clean(new)}" for old, new in changes)]
    if notes:
        lines += ["", *(f"Note: {clean(note)}." for note in notes)]
    return _message(subject, lines, _trailers(run, cluster, effect=revert_effect(run)))


def tag_message(run: CanaryRun, cluster: str) -> str:
    """For the tag on a commit that was promoted."""
    images = ", ".join(sorted({_short(image) for image in run.spec.release.images.values()})) or "a release"
    head = clean(f"canary({_object(run)}): {images} promoted on {cluster}")
    return _message(head, [_why(run)], _trailers(run, cluster, effect=f"tag {run.metadata.name}"))


def proposal_body(message: str, branch: str) -> str:
    """The body of a pull request, from the message of its commit.

    In a fenced block, because words from the cluster may look like a heading, a mention of somebody, or a marker of ours.
    """
    text = message.partition("\n")[2].strip("\n").replace("```", "'''").replace("<!--", "<! --")
    return (
        f"A release failed and was taken back in the cluster; `{branch}` still asks for it. Merge this to make them agree, or close it: it is not opened "
        f"again for this run.\n\n```text\n{text}\n```"
    )


def status_text(run: CanaryRun, cluster: str) -> str:
    """One line beside a commit."""
    images = ", ".join(sorted({_short(image) for image in run.spec.release.images.values()})) or "the release"
    match run.status.outcome:
        case "":
            text = f"{images} is being analysed on {cluster}"
        case "succeeded":
            text = f"{images} is promoted on {cluster}"
        case outcome:
            text = f"{outcome} on {cluster}: {_why(run)}"
    return clean(text, limit=140)


def subject(message: str) -> str:
    """The first line."""
    return message.partition("\n")[0]


def _message(head: str, lines: Sequence[str], block: Sequence[str]) -> str:
    """The trailers come last, after an empty line: only there does git look for them."""
    return "\n".join([head, "", *lines, "", *dict.fromkeys(block), ""])


def _trailers(run: CanaryRun, cluster: str, *, effect: str) -> list[str]:
    fields = {
        "Canary-Run-Id": run.metadata.name,
        "Canary-Outcome": run.status.outcome,
        "Canary-Object": _object(run),
        "Canary-Cluster": cluster,
        EFFECT_TRAILER: effect,
    }
    return [f"{key}: {clean(value, limit=1000)}" for key, value in fields.items()]


def _object(run: CanaryRun) -> str:
    return f"{run.metadata.namespace}/{run.spec.canary_ref.name}"


def _why(run: CanaryRun) -> str:
    return clean(run.status.reason) or _DEFAULT_WHY.get(run.status.outcome, "The run was canceled.")


def _short(image: str) -> str:
    """The tag or digest of an image, else all of it; a port is no tag."""
    name = image.rpartition("/")[2]
    return name.partition("@")[2][:19] or name.partition(":")[2] or name
