"""What every text about a canary needs: the names in it, and the plain kinds of notices. The texts are in `canary.core.notices`."""

from __future__ import annotations

from dataclasses import dataclass

from canary.api.canary import Canary
from canary.api.status import Phase
from canary.core.telling import Notice, Severity


@dataclass(frozen=True, slots=True)
class Speaker:
    """Knows the names of the objects of one canary; `phase` is what event hooks are told."""

    canary: Canary
    phase: Phase

    @property
    def who(self) -> str:
        """`<canary>.<namespace>`."""
        return f"{self.canary.metadata.name}.{self.canary.metadata.namespace}"

    @property
    def target(self) -> str:
        """`<target>.<namespace>`."""
        return f"{self.canary.spec.target_name}.{self.canary.metadata.namespace}"

    @property
    def primary(self) -> str:
        """`<target>-primary.<namespace>`."""
        return f"{self.canary.spec.primary_name}.{self.canary.metadata.namespace}"

    @property
    def baseline(self) -> str:
        """`<target>-baseline.<namespace>`."""
        return f"{self.canary.spec.baseline_name}.{self.canary.metadata.namespace}"

    def _normal(self, kind: str, message: str, *, once: bool = False) -> Notice:
        return Notice(message, kind, self.phase, once=once)

    def _warning(self, kind: str, message: str, *, once: bool = False, severity: Severity | None = None) -> Notice:
        return Notice(message, kind, self.phase, warning=True, once=once, severity=severity)
