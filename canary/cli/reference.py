"""The generated parts of `docs/reference/cli.md`: options of each command, and the exit codes.

    python -m canary.cli.reference [--check] [FILE]

A part stands between `<!-- begin: NAME -->` and `<!-- end -->`; the text around it is written by hand. Rejected: generating the page as a
whole, which puts prose into string literals, and a documentation plug-in, which needs its own tool to be read.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from canary.cli.exits import MEANINGS
from canary.cli.main import COMMANDS, cli

PAGE = Path("docs/reference/cli.md")
_PART = re.compile(r"(<!-- begin: (.+?) -->\n).*?(<!-- end -->)", re.DOTALL)


def filled(text: str) -> str:
    """The page with all its parts as the code has them. Raises KeyError for a part that nobody knows."""
    return _PART.sub(lambda found: f"{found[1]}{_part(found[2])}{found[3]}", text)


def _part(name: str) -> str:
    match name.split():
        case ["commands"]:
            rows = [f"| [`canary {command}`](#canary-{command}) | {text} |" for command, (_, text) in COMMANDS.items()]
            return "\n".join(["| command | what it does |", "|---|---|", *rows, ""])
        case ["exit-codes"]:
            rows = [f"| {code} | {text} |" for code, text in MEANINGS.items()]
            return "\n".join(["| code | meaning |", "|---|---|", *rows, ""])
        case ["options", command]:
            return _options(command)
    raise KeyError(name)


def _options(name: str) -> str:
    with click.Context(cli) as parent:
        command = cli.get_command(parent, name)
        assert command is not None
        with click.Context(command, parent=parent, info_name=name) as context:
            inner = {f"{word} ": one for word, one in command.commands.items()} if isinstance(command, click.Group) else {"": command}
            rows = [
                _row(option, word)
                for word, one in inner.items()
                for option in one.get_params(context)
                if isinstance(option, click.Option) and not (option.hidden or "--help" in option.opts)
            ]
            return "\n".join(["| option | default | |", "|---|---|---|", *rows, ""])


def _row(option: click.Option, word: str) -> str:
    """`word`: the command of a group that has the option."""
    names = ", ".join(f"`{word}{name}`" for name in option.opts)
    text = re.sub(r" \[default: .*\]", "", option.help or "").replace("|", "\\|")
    stated = re.search(r"\[default: (.*)\]", option.help or "")
    return f"| {names} | {stated[1] if stated else _default(option)} | {text} |"


def _default(option: click.Option) -> str:
    value: Any = option.default
    if callable(value) or option.is_flag or type(value).__name__ == "Sentinel" or value in (None, "", 0, 0.0) or not option.show_default:
        return ""
    if isinstance(value, tuple):
        return ", ".join(f"`{one}`" for one in value)
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def main(arguments: Sequence[str]) -> int:
    """Write the page, or with `--check` only compare. Answers the exit code: 0, 1 (stale)."""
    check = "--check" in arguments
    page = next((Path(one) for one in arguments if not one.startswith("-")), PAGE)
    text = page.read_text(encoding="utf-8")
    wanted = filled(text)
    if check and text != wanted:
        sys.stderr.write(f"error: {page} is stale\nhint: run python -m canary.cli.reference {page}\n")
        return 1
    page.write_text(wanted, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
