"""`canary crds`: the kinds, from the models, and whether a cluster has them as this version needs them."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import click

from canary.cli.exits import NO


@click.command()
@click.option("--check", is_flag=True, help="Print nothing but what is missing or outdated in the cluster; 1 when something is.")
@click.option(
    "--dir", "folder", type=click.Path(exists=True, file_okay=False, path_type=Path), help="With --check: look into this folder instead."
)
@click.option("--kubeconfig", default="", help="With --check: path of a kubeconfig.")
@click.option("--context", default="", help="With --check: context of the kubeconfig.")
def crds(*, check: bool, folder: Path | None, kubeconfig: str, context: str) -> None:
    """Print the CustomResourceDefinitions, ready for `kubectl apply --server-side -f -`."""
    from canary.api.crd import files, stale

    if folder and not check:
        raise click.UsageError("--dir goes with --check")
    if not check:
        click.echo("---\n".join(files().values()), nl=False)
        return
    problems = (
        [f"{folder / name} is missing or outdated" for name in stale(folder)] if folder else asyncio.run(_compare(kubeconfig, context))
    )
    for problem in problems:
        click.echo(problem)
    if problems:
        click.echo("hint: apply them with `canary crds | kubectl apply --server-side -f -`", err=True)
        sys.exit(NO)


async def _compare(kubeconfig: str, context: str) -> list[str]:
    """What the cluster lacks, a line each. Raises CanaryError."""
    from canary.kube import auth
    from canary.kube.client import ApiClient
    from canary.sandbox.kinds import compare

    client = ApiClient(auth.load(kubeconfig=kubeconfig, context=context))
    try:
        return [f"{name} is {problem}" for name, problem in (await compare(client)).items() if problem]
    finally:
        await client.close()
