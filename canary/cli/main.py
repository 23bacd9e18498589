"""Entry point of `canary` and `kubectl-canary`.

Commands are imported when they run: `--help` must answer at once, and only `run` may load the operator. click with twenty lines
of laziness was chosen over typer and cyclopts, which cost three times as much at start-up.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import click

from canary.cli.exits import invoke

COMMANDS: dict[str, tuple[str, str]] = {
    "run": ("canary.cli.run:run", "Start the operator with the current kubeconfig or the in-cluster account."),
    "demo": ("canary.cli.demo:demo", "Release a good and a bad version on a real Envoy and a real Prometheus, in a minute."),
    "git": ("canary.cli.git:git", "Preview on a clone what a failed release takes back in Git."),
    "rings": ("canary.cli.rings:rings", "Show where releases stand in rings of clusters, move rings, and answer clusters that ask."),
    "simulate": (
        "canary.cli.simulate:simulate",
        "Simulate releases of a service like yours: false rollbacks, detection, harm, before the first one.",
    ),
    "replay": ("canary.cli.replay:replay", "Judge a run of the past again, tick by tick, from what Prometheus still has."),
    "plan": (
        "canary.cli.plan:plan",
        "Tell from the traffic of the last weeks how long an analysis takes, what it can see, and when to release.",
    ),
    "crds": ("canary.cli.crds:crds", "Print the CustomResourceDefinitions, ready for `kubectl apply --server-side -f -`."),
    "version": ("canary.cli.version:version", "Print the version."),
}
"""Name to (where it lives, what it does)."""


class LazyGroup(click.Group):
    """Knows its commands by name and help text; imports one when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """The names, in the order in which people need them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import a command; None when there is none of this name."""
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """The list of `--help`, without importing anything."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """Progressive delivery for Kubernetes: releases as small experiments with a safe end."""


def main() -> None:
    """Run the command line and exit; errors are one line on stderr, exit codes as in `canary.cli.exits`."""
    name = Path(sys.argv[0]).name
    sys.exit(invoke(cli, sys.argv[1:], prog="canary" if name.endswith(".py") else name))


if __name__ == "__main__":
    main()
