"""`canary demo`: the main job, from nothing, in a minute."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

import click

CLUSTER_ONLY = (
    *("kubeconfig", "context", "yes", "mesh_provider", "metrics_server", "gateway", "host", "address"),
    *("first_image", "good_image", "bad_image", "bad_env", "git_host"),
)
"""Parameters that mean something with --cluster only."""


@click.command()
@click.option("--headless", is_flag=True, help="No terminal view: one line for each thing that happens.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, ending with a summary.")
@click.option("--interval", default="1s", show_default=True, help="Replaces the manifest's `analysis.interval`; empty: leave it.")
@click.option("--manifest", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Another Canary of podinfo in namespace prod.")
@click.option("--deadline", default=240.0, show_default=True, help="Seconds after which the story counts as stuck.")
def demo(**flags: Any) -> None:
    """Release a good version, then a bad one, of the podinfo Canary that somebody wrote in 2020.

    A real Envoy carries the traffic, a real Prometheus measures it, a Git server keeps the outcome; the API server and the pods are of this
    program, and nothing is left of them. Exit code 0 only when the good one was promoted without a failed request, and the bad one rolled back
    and reverted in Git.
    """
    from canary.sandbox.manifest import prepared
    from canary.sandbox.show import perform

    text = prepared((flags["manifest"] or seed()).read_text(encoding="utf-8"), interval=flags["interval"])
    show = _show(headless=flags["headless"], as_json=flags["as_json"])
    stage = _sandbox()
    sys.exit(asyncio.run(perform(stage, text, show, deadline=flags["deadline"])))
