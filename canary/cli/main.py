"""Entry point of `canary` and `kubectl-canary`.

Commands are imported when they run: `--help` must answer at once, and only `run` may load the operator. click with twenty lines
of laziness was chosen over typer and cyclopts, which cost three times as much at start-up.
"""

from __future__ import annotations

import importlib
import sys

import click

COMMANDS: dict[str, tuple[str, str]] = {
    "run": ("canary.cli.run:run", "Start the operator against the current kubeconfig or the in-cluster account."),
    "demo": ("canary.cli.demo:demo", "Release a good and a bad version on a real Envoy and a real Prometheus, in a minute."),
    "crds": ("canary.cli.crds:crds", "Print the CustomResourceDefinitions, ready for `kubectl apply -f -`."),
    "version": ("canary.cli.version:version", "Print the version."),
}
"""Name to (where it lives, what it does)."""


class LazyGroup(click.Group):
    """Knows its commands by name and help text; imports one when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """Progressive delivery for Kubernetes: releases as small experiments with a safe end."""


def main() -> None:
    """Run the command line; errors are one line on stderr, exit codes as documented in docs/reference/cli.md."""
    from canary.core.errors import CanaryError

    try:
        cli(prog_name=sys.argv[0].rsplit("/", 1)[-1])
    except CanaryError as error:
        click.echo(f"error: {error.message}", err=True)
        if error.hint:
            click.echo(f"hint: {error.hint}", err=True)
        sys.exit({"NotFound": 4, "Unavailable": 5, "Forbidden": 6}.get(error.reason, 1))


if __name__ == "__main__":
    main()
