"""`canary demo`: the main job, from nothing, in a minute."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import click

@click.command()
@click.option("--headless", is_flag=True, help="No terminal view: one line for each thing that happens.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, ending with a summary.")
@click.option("--interval", default="1s", show_default=True, help="Replaces the manifest's `analysis.interval`; the rest stays as it is.")
@click.option("--manifest", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Another Canary of podinfo in namespace prod.")
@click.option("--deadline", default=240.0, show_default=True, help="Seconds after which the story counts as stuck.")
def demo(**flags: Any) -> None:
    """Release a good version, then a bad one, of the podinfo Canary that somebody wrote in 2020."""
    from canary.sandbox import programs
    from canary.sandbox.show import LineShow, perform
    from canary.sandbox.world import World
    import re
    text = re.sub(r"interval: 10s", "interval: 1s", (Path(__file__).resolve().parents[2]/"examples/podinfo-2020.yaml").read_text())
    found = programs.find()
    async def main():
        return await perform(World(found), text, (LineShow(as_json=flags["as_json"]) if not sys.stdout.isatty() else __import__("canary.sandbox.terminal").sandbox.terminal.TerminalShow()), deadline=flags["deadline"])
    sys.exit(asyncio.run(main()))
