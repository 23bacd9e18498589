"""What a person says to a release: `canary.dev/command: <verb>@<nonce>`, an annotation, because GitOps engines undo edits of the spec.

A command is answered once: its value goes into `status.lastCommand` in the same write as what follows from it, so a crash neither loses
nor repeats it. The nonce makes a second `abort` another value than the first. A command without one is refused rather than obeyed:
it would work once, and be silently ignored at the next release. What nothing waits for is refused at once, with an event, and not kept:
a forgotten `promote` must not decide about the next revision. Who and why come from `canary.dev/by` and `canary.dev/reason`; who may
annotate Canaries is the API server's business.

`abort` rolls a run back wherever it stands before its promotion. `retry` and `promote` answer a run that waits for a person
(`canary.core.held`).
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from canary.api.annotations import BY, COMMAND, REASON
from canary.api.status import Phase
from canary.core.evidence import commanded, shortened
from canary.core.judged import INCONCLUSIVE, deciding
from canary.core.rollback import begin_rollback, refuse
from canary.core.turn import End, Turn

LONGEST_VALUE, LONGEST_NAME, LONGEST_WORDS = 200, 60, 200
"""Characters; an annotation has room for 256 KiB."""


class Verb(enum.StrEnum):
    """What can be commanded."""

    ABORT = "abort"
    RETRY = "retry"
    PROMOTE = "promote"


@dataclass(frozen=True, slots=True)
class Command:
    """A command that was not answered yet. `said` names verb, person and reason; `verb` is None when `problem` says what is wrong."""

    verb: Verb | None
    said: str = ""
    problem: str = ""


def pending(t: Turn) -> Command | None:
    """The command that was not answered yet, if there is one."""
    value = _value(t)
    if not value or value == t.status.last_command:
        return None
    verb, _, nonce = value.partition("@")
    if verb not in tuple(Verb):
        return Command(None, problem=f"unknown verb {verb!r}; use {', '.join(Verb)}")
    if not nonce:
        return Command(None, problem=f"it has no nonce; write {verb}@ and any text that was not used before, such as a time")
    notes = t.canary.metadata.annotations
    by, why = _words(notes.get(BY, ""), LONGEST_NAME), _words(notes.get(REASON, ""), LONGEST_WORDS)
    return Command(Verb(verb), said=f"{verb} by {by or 'a person'}{f': {why}' if why else ''}")


def obey(t: Turn, command: Command) -> None:
    """Store that the command was answered, and in the evidence of the run who said what."""
    commanded(t, command.said)
    t.update(last_command=_value(t))


def decline(t: Turn, why: str) -> None:
    """Store that the command was answered, and say why nothing follows from it."""
    t.say(t.voice.not_obeyed(_value(t), why))
    t.update(last_command=_value(t))


def overheard(t: Turn) -> End | None:
    """Where no command has a meaning: nothing is under way, or what is cannot be stopped any more."""
    if (command := pending(t)) is None:
        return None
    promoting = t.phase in (Phase.PROMOTING, Phase.FINALISING)
    nothing = "the promotion has begun and is finished first" if promoting else "no run is under way"
    decline(t, command.problem or nothing)
    return None


def interrupted(t: Turn) -> End | None:
    """In a run: `abort` rolls back at once, held or not; other commands are left to a run that waits for a person."""
    if (command := pending(t)) is None:
        return None
    if command.verb is Verb.ABORT:
        obey(t, command)
        t.say(t.voice.aborted(command.said))
        why = f" (it was held: {t.run.held})" if t.run is not None and t.run.held else ""
        return begin_rollback(t, reason=command.said + why)
    if command.problem or not waits(t):
        decline(t, command.problem or "the run does not wait for a person")
    return None


def interrupted_while_waiting(t: Turn) -> End | None:
    """A revision that waits for approval: `abort` refuses it, as a rollback hook does."""
    if (command := pending(t)) is None:
        return None
    if command.verb is Verb.ABORT:
        obey(t, command)
        t.say(t.voice.aborted(command.said))
        return refuse(t, reason=command.said)
    decline(t, command.problem or "no run is under way")
    return None


def waits(t: Turn) -> bool:
    """Whether the run waits for a person: a verdict is held, or the evidence was inconclusive at its deadline."""
    run = t.run
    if run is None:
        return False
    return bool(run.held) or (run.judge is not None and run.judge.verdict == INCONCLUSIVE and deciding(t))


def _value(t: Turn) -> str:
    return shortened(t.canary.metadata.annotations.get(COMMAND, "").strip(), LONGEST_VALUE)


def _words(text: str, longest: int) -> str:
    return shortened(" ".join(text.split()), longest)
