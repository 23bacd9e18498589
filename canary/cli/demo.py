"""`canary demo`: the main job, from nothing, in a minute."""

from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path

import click

INTERVAL = re.compile(r"(?m)^(\s+interval:\s*)10s$")


@click.command()
@click.option("--headless", is_flag=True, help="No terminal view: one line for each thing that happens.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, ending with a summary.")
@click.option("--interval", default="1s", show_default=True, help="Replaces the manifest's `analysis.interval`; the rest stays as it is.")
@click.option("--manifest", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Another Canary of podinfo in namespace prod.")
@click.option("--cluster", is_flag=True, help="Tell the story on the cluster of the current kubeconfig instead of the sandbox.")
@click.option("--kubeconfig", default="", help="With --cluster: path of a kubeconfig.")
@click.option("--deadline", default=240.0, show_default=True, help="Seconds after which the story counts as stuck.")
def demo(headless: bool, as_json: bool, interval: str, manifest: Path | None, cluster: bool, kubeconfig: str, deadline: float) -> None:  # noqa: FBT001
    """Release a good version, then a bad one, of the podinfo Canary that somebody wrote in 2020.

    A real Envoy carries the traffic, a real Prometheus measures it, a Git server keeps the outcome. Exit code 0 only when the good one was
    promoted and the bad one rolled back and reverted in Git.
    """
    from canary.sandbox.show import headless_show, terminal_show

    text = shortened((manifest or seed()).read_text(), interval)
    show = headless_show(as_json=as_json) if headless or as_json or not sys.stdout.isatty() else terminal_show()
    if cluster:
        from canary.sandbox.onecluster import tell_on_cluster

        code = asyncio.run(tell_on_cluster(text, show, kubeconfig=kubeconfig, deadline=deadline))
    else:
        from canary.sandbox.show import tell_in_sandbox

        code = asyncio.run(tell_in_sandbox(text, show, deadline=deadline))
    sys.exit(code)


def seed() -> Path:
    """The manifest of 2020: shipped inside the wheel, or in `examples/` of a checkout."""
    package = Path(__file__).resolve().parent.parent
    shipped = package / "sandbox" / "podinfo-2020.yaml"
    return shipped if shipped.exists() else package.parent / "examples" / "podinfo-2020.yaml"


def shortened(manifest: str, interval: str) -> str:
    """The manifest with another `analysis.interval`. Raises BadParameter when it does not hold exactly one of 10s."""
    text, count = INTERVAL.subn(rf"\g<1>{interval}", manifest)
    if count != 1:
        raise click.BadParameter("the manifest must hold `interval: 10s` exactly once", param_hint="--manifest")
    return text

