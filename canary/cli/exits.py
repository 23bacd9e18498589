"""How every command ends: one line of error, one hint, and an exit code that scripts can rely on.

Light on purpose: it is imported by `canary --help`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import click

from canary.core.errors import CanaryError

OK, NO, USAGE, UNDECIDED, MISSING, UNREACHABLE, FORBIDDEN, INTERRUPTED = 0, 1, 2, 3, 4, 5, 6, 130
MEANINGS = {
    OK: "Done; or the answer is yes: the release was promoted, nothing was found.",
    NO: "The answer is no: a release did not end as it should, a check failed, something differs. Also any error without a code of its own.",
    USAGE: "The command line is wrong.",
    UNDECIDED: "No answer within the time that was given.",
    MISSING: "Something that was named, or is needed, does not exist: an object, a CustomResourceDefinition, a program.",
    UNREACHABLE: "The API server, or Prometheus, cannot be reached.",
    FORBIDDEN: "The API server does not accept the credentials, or does not allow it.",
    INTERRUPTED: "Stopped by Ctrl-C. Another signal n ends with 128 + n.",
}
"""The contract; `docs/reference/cli.md` is made from it."""
REASONS = {"Timeout": UNDECIDED, "NotFound": MISSING, "Unavailable": UNREACHABLE, "Forbidden": FORBIDDEN}
_BROKEN_PIPE = 141


def invoke(command: click.Command, arguments: Sequence[str], *, prog: str) -> int:
    """Run a command line; the exit code. Bugs pass through as exceptions: their traceback is what a report needs."""
    try:
        code = _run(command, arguments, prog)
        sys.stdout.flush()
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return USAGE
    except click.UsageError as error:
        path = error.ctx.command_path if error.ctx else prog
        return _tell(_sentence(error.format_message()), hint=f"see `{path} --help`", code=USAGE)
    except click.ClickException as error:
        return _tell(_sentence(error.format_message()), code=NO)
    except CanaryError as error:
        return _tell(error.message, hint=error.hint, detail=getattr(error, "detail", ""), code=REASONS.get(error.reason, NO))
    except (KeyboardInterrupt, click.Abort):
        return INTERRUPTED
    except BrokenPipeError:
        return _unheard()
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        return _tell(f"{place}{error.strerror or error}", code=NO)
    return code if isinstance(code, int) else OK


def _run(command: click.Command, arguments: Sequence[str], prog: str) -> object:
    """What `Command.main` does, but for its ends: it calls a broken pipe 1, and takes stdout away."""
    variable = f"_{prog.replace('-', '_').replace('.', '_').upper()}_COMPLETE"
    if instruction := os.environ.get(variable):
        from click.shell_completion import shell_complete

        return shell_complete(command, {}, prog, variable, instruction)
    try:
        with command.make_context(prog, list(arguments)) as context:
            return command.invoke(context)
    except click.exceptions.Exit as end:
        return end.exit_code


def _unheard() -> int:
    """Whoever read our output has had enough; without this, closing stdout at exit would complain once more."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return _BROKEN_PIPE


def _tell(message: str, *, code: int, hint: str = "", detail: str = "") -> int:
    click.echo(f"error: {' '.join(message.split())}", err=True)
    if detail:
        click.echo("\n".join(f"  {line}" for line in detail.splitlines()), err=True)
    if hint:
        click.echo(f"hint: {' '.join(hint.split())}", err=True)
    return code


def _sentence(text: str) -> str:
    """Click's sentence in our style: it begins small and ends without a full stop."""
    text = text.strip().removesuffix(".")
    return text[:1].lower() + text[1:] if text[1:2].islower() else text
