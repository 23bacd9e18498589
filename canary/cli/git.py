"""`canary git`: what writing outcomes to Git would do, tried on a clone."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from canary.cli.exits import NO

if TYPE_CHECKING:
    from canary.gitops.revert import Plan

MAX_BYTES = 1 << 20
_WORKLOAD = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?/[a-z0-9]([-a-z0-9.]*[a-z0-9])?")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def git() -> None:
    """Look at what writing outcomes to Git does, on a clone."""


@git.command()
@click.option(
    "--repo",
    "folder",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=".",
    show_default=True,
    help="Clone to look at.",
)
@click.option("--workload", required=True, metavar="NS/NAME", help="Namespace and name of the Deployment, DaemonSet or Knative Service.")
@click.option("--promoted", required=True, metavar="REV", help="Revision whose images run: what is restored.")
@click.option("--failed", required=True, metavar="REV", help="Revision whose images failed.")
@click.option("--base", default="HEAD", metavar="REV", show_default=True, help="Revision that would be edited.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object: confidence, sites, patch.")
def preview(*, folder: Path, workload: str, promoted: str, failed: str, base: str, as_json: bool) -> None:
    """Show which values a failed release would put back, and the exact patch.

    Nothing is written and nothing is fetched. The patch goes to `git apply`. The exit code is 0 when there is something to restore, and 1 when
    there is not, or when several places could be meant.
    """
    from canary.core.errors import Rejected
    from canary.gitops.preview import patch

    if not _WORKLOAD.fullmatch(workload):
        raise click.UsageError(f"--workload {workload!r} is not NAMESPACE/NAME")
    try:
        contents, plan = asyncio.run(_look(folder, workload, promoted=promoted, failed=failed, base=base))
    except Rejected as error:
        if error.reason == "NotFound":
            raise
        raise click.UsageError(error.message) from error
    text = patch(contents, plan.edits or plan.proposed)
    if as_json:
        click.echo(json.dumps(_data(plan, text), indent=1))
    else:
        _show(plan, text)
    for sentence in (*plan.notes, plan.explanation if text else ""):
        if sentence:
            click.echo(f"note: {sentence}", err=True)
    if not text:
        click.echo(f"error: {plan.explanation}", err=True)
        click.get_current_context().exit(NO)


async def _look(folder: Path, workload: str, *, promoted: str, failed: str, base: str) -> tuple[dict[str, bytes], Plan]:
    """Contents of the base, and what would be done there. Raises Rejected (usage), and CanaryError."""
    from canary.core.errors import CanaryError
    from canary.gitops import preview as previews
    from canary.gitops.clone import Clone, git_folder
    from canary.gitops.failures import GitFailed
    from canary.gitops.gathering import gather

    clone = Clone(await git_folder(folder))
    namespace, _, name = workload.partition("/")
    commits = [await clone.commit_of(revision) for revision in (promoted, failed, base)]
    unknown = previews.unknown(namespace, name)
    try:
        first, second = [await gather(clone, commit, unknown, allowed=(), max_bytes=MAX_BYTES) for commit in commits[:2]]
        known = previews.released(first.contents, second.contents, namespace, name)
        third = await gather(clone, commits[2], [known.workload], allowed=(), max_bytes=MAX_BYTES)
    except GitFailed as error:
        raise CanaryError(f"{folder} cannot be read: {error.failure.text}") from error
    return third.contents, previews.preview(third.contents, known, unread=third.unread)


def _data(plan: Plan, text: str) -> dict[str, object]:
    sites = [{"file": one.file, "path": one.path, "from": one.old, "to": one.new} for one in plan.sites]
    return {"confidence": plan.confidence.value, "sites": sites, "patch": text}


def _show(plan: Plan, text: str) -> None:
    for one in plan.sites:
        click.echo(f"{one.file}: {one.path}: {one.old} -> {one.new} (confidence: {one.confidence.value})")
    if text:
        click.echo()
        click.echo(text, nl=False)
