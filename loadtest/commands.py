"""From hook metadata to the program that will run: task types, their arguments, and the allow-list.

Types and replies are upstream's. With an allow-list no shell is used at all: the line is split into words and its
program is started directly, so that nothing a shell would interpret can smuggle in a second program. Judging shell
syntax instead (which words are commands?) was rejected: that is a parser for bash, and every gap in it is a hole.
"""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from loadtest.payload import HookError, Payload
from loadtest.units import is_true, parse_positive_duration

TYPES: Final = ("cmd", "bash", "kubectl", "helm", "helmv3")
_SHELLS: Final = {"cmd": "sh", "bash": "bash"}
_PROGRAMS: Final = {"kubectl": "kubectl", "helm": "helm", "helmv3": "helm"}
_UNSUPPORTED: Final = {
    "ngrinder": "task type ngrinder is not supported: start the test through nGrinder's REST API in a task of type bash, or load with hey in a task of type cmd",
    "concord": "task type concord is not supported: start the process through Concord's REST API (curl) in a task of type bash",
}
_META: Final = frozenset(";|&$`<>()\n\r")
_LAUNCHER_NAMES: Final = (
    "awk bash bats busybox chroot dash env exec find flock git ionice make nice node nohup nsenter perl php python python3 "
    "ruby script sed setsid sh ssh stdbuf strace su sudo tar time timeout unshare vi vim watch xargs zsh"
)
#: Programs that start whatever their arguments say; on an allow-list they allow everything.
LAUNCHERS: Final = frozenset(_LAUNCHER_NAMES.split())


@dataclass(frozen=True, kw_only=True, slots=True)
class Command:
    """One program to run. `text` is how logs and replies show it; `timeout` (seconds) only when the hook sets one."""

    type: str
    text: str
    argv: tuple[str, ...]
    blocking: bool
    timeout: float | None
    log_output: bool
    return_output: bool


def build_command(payload: Payload, *, allowed: Sequence[str], path: str) -> Command:
    """What the payload asks for. `allowed` empty = every program; `path` is the PATH that programs are looked up in.

    Raises HookError 400 (metadata wrong, unknown type, program absent) or 403 (program not on the allow-list).
    """
    metadata = payload.metadata
    if not metadata:
        raise HookError(400, "metadata not found in payload")
    kind = metadata.get("type", "cmd")
    if kind in _UNSUPPORTED:
        raise HookError(400, _UNSUPPORTED[kind])
    if kind not in TYPES:
        raise HookError(400, f"unknown task type {kind}; known are {', '.join(TYPES)}")
    line = metadata.get("cmd", "")
    if not line.strip():
        raise HookError(400, "cmd not found in metadata")
    if "\0" in line:
        raise HookError(400, "cmd must not hold a NUL character")
    return Command(
        type=kind,
        text=f"{_PROGRAMS[kind]} {line}" if kind in _PROGRAMS else line,
        argv=_arguments(kind, line=line, allowed=allowed, path=path),
        blocking=kind != "cmd",
        timeout=_timeout(metadata.get("timeout")),
        log_output=is_true(metadata.get("logCmdOutput")) or kind != "cmd",
        return_output=is_true(metadata.get("returnCmdOutput")),
    )


def _timeout(text: str | None) -> float | None:
    try:
        return parse_positive_duration(text) if text else None
    except ValueError as error:
        raise HookError(400, f"metadata.timeout: {error}") from error


def _arguments(kind: str, *, line: str, allowed: Sequence[str], path: str) -> tuple[str, ...]:
    if kind in _PROGRAMS:
        words = (_PROGRAMS[kind], *_split(line))
    elif allowed:
        words = tuple(_split(_without_shell_syntax(line)))
    else:
        return (_SHELLS[kind], "-c", line)
    if allowed and words[0] not in allowed:
        raise HookError(403, f"program {words[0]!r} is not allowed here; allowed are: {', '.join(allowed)}")
    program = shutil.which(words[0], path=path)
    if program is None:
        raise HookError(400, f"{words[0]} is not in this image; use an image that has it on PATH")
    return (program, *words[1:])


def _without_shell_syntax(line: str) -> str:
    if found := sorted(_META.intersection(line)):
        shown = " ".join(repr(character) for character in found)
        raise HookError(403, f"cmd holds {shown}: with an allow-list of programs no shell runs; send one plain command per hook")
    return line


def _split(line: str) -> list[str]:
    try:
        words = shlex.split(line)
    except ValueError as error:
        raise HookError(400, f"cmd cannot be split into words: {error}") from error
    if not words:
        raise HookError(400, "cmd not found in metadata")
    return words
