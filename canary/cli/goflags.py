"""Go's way of writing flags, for a command whose arguments stand in existing Deployments.

Go takes one dash or two, `-flag=value` or `-flag value` (whatever the value begins with), and a boolean without a value, which never takes
the next word. click takes two dashes, and reads `-mesh-provider` as `-m -e -s ...`. So the words are rewritten into click's form first;
rejected: a parser of our own, which would lose click's help and messages.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import click

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

_TRUE, _FALSE = ("1", "t", "T", "true", "TRUE", "True"), ("0", "f", "F", "false", "FALSE", "False")


class GoBool(click.ParamType[bool]):
    """A boolean in the words that Go accepts."""

    name = "boolean"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> bool:
        """Raises BadParameter."""
        if not isinstance(value, bool) and value not in (*_TRUE, *_FALSE):
            self.fail(f"{value!r} is not a boolean; write true or false", param, ctx)
        return value is True or value in _TRUE


class GoFlags(click.Command):
    """A command that understands Go's spelling of its options.

    `dropped`: name to "is a boolean" of flags that are taken from the command line, with their values, and mean nothing.
    """

    def __init__(self, *args: Any, dropped: Mapping[str, bool] | None = None, **more: Any) -> None:
        super().__init__(*args, **more)
        self._dropped = dropped or {}

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Rewrite, then parse as click does."""
        options = [param for param in self.params if isinstance(param, click.Option)]
        known = {name.lstrip("-"): isinstance(option.type, GoBool) for option in options for name in option.opts}
        return super().parse_args(ctx, rewritten(args, known | {"h": True, "help": True}, self._dropped))


def rewritten(args: Sequence[str], known: Mapping[str, bool], dropped: Mapping[str, bool]) -> list[str]:
    """Arguments in click's form, options first. `known`, `dropped`: name without dashes to whether it is a boolean.

    As in Go, options end at the first word that is none. What is not known is left to click's judgement.
    """
    kinds = {**known, **dropped}
    out: list[str] = []
    rest = list(args)
    while rest and rest[0].startswith("-") and rest[0] not in {"-", "--"}:
        name, equals, value = rest.pop(0).lstrip("-").partition("=")
        if not equals and kinds.get(name):
            value = "true"
        elif not equals and name in kinds and rest:
            value = rest.pop(0)
        elif not equals:
            out.append(f"--{name}")  # unknown, or without its value
            continue
        if name in {"h", "help"}:
            out.append("--help")
        elif name not in dropped:
            out += [f"--{name}={value}"] if len(name) > 1 else [f"-{name}", value]
    return [*out, *rest]


def boolean(name: str, text: str, *, default: bool, hidden: bool = False) -> Decorator:
    """An option that is true when it is only named, and takes =true or =false."""
    return click.option(f"--{name}", type=GoBool(), default=default, show_default=True, help=text, hidden=hidden)
