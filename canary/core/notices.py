"""Every text that people read in events and chats, in one place.

Messages keep the fragments of upstream's that scripts grep (reference 2.17, flagger-analysis 5.2); the rest is ours, and says
what to do where that helps. `kind` is the specific word behind upstream's constant reason `Synced`. Texts beside the rules
that use them were rejected: the page, the event reference and translations of habits need one list.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from canary.api.analysis import Webhook
from canary.api.annotations import CHOICE
from canary.api.status import Phase
from canary.core.speaker import Speaker
from canary.core.telling import Notice, Severity


@dataclass(frozen=True, slots=True)
class Voice(Speaker):
    """Speaks about one canary."""

    # ------------------------------------------------------------------------------------------ around releases

    def suspended(self) -> Notice:
        """A tick of a suspended canary."""
        return self._normal("Suspended", f"Canary {self.who} is suspended: nothing is reconciled", once=True)

    def unobservable(self, what: str, message: str) -> Notice:
        """Something that must be known could not be observed."""
        return self._warning("NotObserved", f"Halt {self.who} advancement {what}: {message}", once=True)

    def providers_ready(self) -> Notice:
        """Bootstrap: the metric providers answer."""
        return self._normal("ProvidersReady", f"Metric providers of {self.who} are available", once=True)

    def providers_unreachable(self, errors: tuple[str, ...]) -> Notice:
        """Bootstrap: a metric provider does not answer; the bootstrap goes on."""
        return self._warning("ProvidersUnreachable", f"Metric providers of {self.who} not available: {'; '.join(errors)}", once=True)

    def pinned(self, images: Mapping[str, str]) -> Notice:
        """Bootstrap: the primary begins with what was promoted last, and the template is released like any other revision."""
        text = ", ".join(sorted(set(images.values())))
        message = f"Initialization of {self.primary} with what was promoted last ({text}): what {self.target} has was never promoted"
        return Notice(message, "PrimaryPinned", self.phase, severity=Severity.INFO)

    def not_pinned(self, message: str) -> Notice:
        """Bootstrap: it is not known what was promoted last, so the primary begins with the template."""
        text = f"Initialization of {self.primary} with the template of {self.target}, promoted or not, because Git does not tell: {message}"
        return self._warning("PrimaryNotPinned", text, severity=Severity.WARN)

    def initialized(self) -> Notice:
        """Bootstrap is done."""
        message = f"Initialization done! {self.who}"
        alert = f"{self.target} is under control: its primary serves."
        return Notice(message, "Initialized", self.phase, severity=Severity.INFO, alert=alert, with_fields=True)

    def taken_over(self) -> Notice:
        """First contact with a status that upstream wrote."""
        return self._normal("TakenOver", f"Taken over {self.who}: revisions are hashed anew, nothing else changes", once=True)

    def terminating(self) -> Notice:
        """Deletion with `revertOnDeletion` begins."""
        return self._normal("Terminating", f"Terminating canary {self.who}: {self.target} takes its place again")

    def terminated(self) -> Notice:
        """Deletion with `revertOnDeletion` is done."""
        return self._normal("Terminated", f"Terminated canary {self.who}")

    def deleted_while_parked(self) -> Notice:
        """Deletion without `revertOnDeletion` takes the primary away while the target is at zero (Q44)."""
        message = (
            f"Canary {self.who} is being deleted and its primary goes with it, while {self.target} is scaled to zero: "
            "scale it up now (revertOnDeletion does that)"
        )
        return self._warning("OutageAhead", message, once=True, severity=Severity.ERROR)

    # ---------------------------------------------------------------------------------------------- a new run

    def new_revision(self, *, fresh: bool = False) -> Notice:
        """A revision was accepted; its run begins, `fresh` if it is compared with a fresh copy of the old version."""
        message = f"New revision detected! Scaling up {self.target}"
        alert = f"New revision of {self.target}: its analysis begins."
        if fresh:
            message += f", and {self.baseline} to compare it with"
            alert += " It is compared with a fresh copy of the old version."
        return Notice(message, "NewRevision", Phase.PROGRESSING, severity=Severity.INFO, alert=alert, with_fields=True)

    def restarted(self) -> Notice:
        """A newer revision replaced the one under analysis."""
        message = f"New revision detected! Restarting analysis for {self.target}"
        return Notice(message, "AnalysisRestarted", Phase.PROGRESSING)

    def canceled(self) -> Notice:
        """The target went back to the promoted revision in the middle of a run."""
        message = f"Release of {self.target} canceled: it is back at the promoted revision"
        return Notice(message, "RunCanceled", self.phase, severity=Severity.INFO)

    def rejected_again(self, why: str) -> Notice:
        """A revision that was rejected and taken back in Git has come again; it is held."""
        message = f"Halt {self.who} advancement waiting for a person: {why}"
        alert = f"{self.who} holds a revision back: {why}"
        return Notice(message, "BreakerOpen", self.phase, warning=True, severity=Severity.WARN, alert=alert, once=True)

    def withdrawn(self) -> Notice:
        """A revision that waited for approval was taken back."""
        return self._normal("RevisionWithdrawn", f"The revision of {self.target} that waited for approval was withdrawn")

    def started(self) -> Notice:
        """The first analysis tick of a run."""
        return self._normal("AnalysisStarted", f"Starting canary analysis for {self.target}", once=True)

    # ----------------------------------------------------------------------------------------------- advancing

    def weight(self, weight: int, *, mirrored: bool) -> Notice:
        """One step of a weighted release."""
        suffix = " (mirrored)" if mirrored else ""
        return self._normal("WeightAdvanced", f"Advance {self.who} canary weight {weight}{suffix}")

    def iteration(self, done: int, total: int) -> Notice:
        """One check of a counting release."""
        return self._normal("IterationAdvanced", f"Advance {self.who} canary iteration {done}/{total}")

    def cut_over(self, *, mirrored: bool) -> Notice:
        """Blue/green: all traffic goes to the target."""
        suffix = " (was mirrored)" if mirrored else ""
        return self._normal("RoutedToCanary", f"Routing all traffic to canary {self.target}{suffix}")

    def weights_moved(self, weight: int) -> Notice:
        """Live weights are not those that were recorded: a crash, or a person."""
        return self._normal("WeightsMoved", f"Weights of {self.who} were moved from outside: going on from canary weight {weight}")

    def promoting(self) -> Notice:
        """The analysis is complete and approved."""
        return self._normal("Promoting", f"Copying {self.target} template spec to {self.primary}")

    def primary_weight(self, weight: int) -> Notice:
        """One step of `stepWeightPromotion`."""
        return self._normal("PrimaryWeightAdvanced", f"Advance {self.who} primary weight {weight}")

    def to_primary(self) -> Notice:
        """All traffic goes back to the primary."""
        return self._normal("RoutedToPrimary", f"Routing all traffic to primary {self.primary}")

    def promoted(self) -> Notice:
        """A run succeeded."""
        message = f"Promotion completed! Scaling down {self.target}"
        alert = f"{self.target} passed its analysis and was promoted."
        return Notice(message, "Promoted", self.phase, severity=Severity.INFO, alert=alert)

    def promoted_without_analysis(self) -> Notice:
        """A run with `skipAnalysis` succeeded."""
        message = f"Promotion completed! Canary analysis was skipped for {self.target}"
        alert = f"{self.target} was promoted; its analysis was skipped."
        return Notice(message, "PromotedWithoutAnalysis", self.phase, severity=Severity.INFO, alert=alert)

    # --------------------------------------------------------------------------------------------------- hooks

    def hook_passed(self, hook: Webhook) -> Notice:
        """A gate, a pre-rollout or a post-rollout hook passed."""
        return self._normal("HookPassed", f"{hook.type_effective.value.capitalize()} check {hook.name} passed")

    def hook_failed(self, hook: Webhook, message: str) -> Notice:
        """A pre-rollout or rollout hook failed: one failed check."""
        kind = hook.type_effective.value
        return self._warning("HookFailed", f"Halt {self.who} advancement external check {hook.name} failed ({kind}): {message}")

    def closing_hook_failed(self, hook: Webhook, message: str) -> Notice:
        """A post-rollout hook failed; nothing follows from it."""
        return self._warning("HookFailed", f"Post-rollout hook {hook.name} failed for {self.who}: {message}")

    def gate_rollout(self, hook: Webhook) -> Notice:
        """confirm-rollout refuses."""
        return self._gate(hook, "approval")

    def gate_traffic(self, hook: Webhook, *, weight: int) -> Notice:
        """confirm-traffic-increase refuses; the weight makes each wait a message, and so an alert, of its own (Q25)."""
        return self._gate(hook, "traffic increase approval", where=f" at canary weight {weight}")

    def gate_promotion(self, hook: Webhook) -> Notice:
        """confirm-promotion refuses."""
        return self._gate(hook, "promotion approval")

    def _gate(self, hook: Webhook, what: str, *, where: str = "") -> Notice:
        message = f"Halt {self.who} advancement waiting for {what} {hook.name}{where}"
        severity = None if hook.mute_alert else Severity.WARN
        alert = f"{self.who} waits for {what} by {hook.name}{where}."
        return Notice(message, "GateWaiting", self.phase, warning=True, severity=severity, alert=alert, once=True)

    def rollback_not_signaled(self, hook: Webhook) -> Notice:
        """A rollback hook answered with failure, which means: go on."""
        return self._normal("RollbackNotSignaled", f"Rollback hook {hook.name} not signaling a rollback", once=True)

    def rollback_signaled(self, hook: Webhook) -> Notice:
        """A rollback hook answered with success, which means: roll back."""
        message = f"Rolling back {self.who} on demand: Rollback check {hook.name} passed"
        return self._warning("RollbackSignaled", message, severity=Severity.WARN)

    # --------------------------------------------------------------------------------------------------- checks

    def check_failed(self, text: str) -> Notice:
        """`text` follows `Halt <canary> advancement`; see `canary.core.verdicts`."""
        return self._warning("CheckFailed", f"Halt {self.who} advancement {text}")

    def no_values(self, text: str) -> Notice:
        """`text` follows `Halt advancement no values found for`."""
        return self._warning("CheckFailed", f"Halt advancement no values found for {text} probably {self.target} gets no traffic")

    def check_held(self, text: str) -> Notice:
        """A check without data or answer is set to hold: no step, no failed check."""
        return self._warning("CheckHeld", f"Halt {self.who} advancement undecided: {text}", once=True)

    # ------------------------------------------------------------------------------------------------- evidence

    def evidence_against(self, reason: str) -> Notice:
        """Enough evidence that the canary is worse than tolerated (or the deadline, if that is to roll back)."""
        message = f"Rolling back {self.who} by evidence: {reason}"
        return Notice(message, "EvidenceAgainst", self.phase, warning=True, severity=Severity.ERROR, with_checks=True)

    def evidence_holds(self, reason: str) -> Notice:
        """Neither raise the weight nor roll back."""
        return self._warning("EvidenceHolds", f"Halt {self.who} advancement {reason}")

    def evidence_allows(self, reason: str) -> Notice:
        """The evidence lets the release go on, or promotes it."""
        return self._normal("EvidenceAllows", f"Evidence for {self.who}: {reason}")

    def evidence_restarts(self) -> Notice:
        """The stored evidence does not fit the spec, or this program, any more."""
        return self._warning("EvidenceRestarts", f"Evidence for {self.who} begins anew: the analysis was edited in the middle of the run")

    def baseline_given_up(self, why: str) -> Notice:
        """There is no fresh copy of the old version to compare with; the run goes on without it."""
        text = f"{self.who} is compared with its primary from now on, not with a fresh copy of the old version ({self.baseline}): {why}"
        return self._warning("BaselineGivenUp", text, severity=Severity.WARN)

    def inconclusive(self, reason: str) -> Notice:
        """`maxDuration` passed without a verdict, and `onInconclusive` says hold."""
        alert = f"{self.who} waits for a person: {reason} Annotate the Canary with {CHOICE}."
        return Notice(
            f"Holding {self.who} weights stay: {reason}",
            "Inconclusive",
            self.phase,
            warning=True,
            severity=Severity.WARN,
            alert=alert,
            with_checks=True,
        )

    # -------------------------------------------------------------------------------------------------- trouble

    def not_ready(self, which: str, message: str) -> Notice:
        """The tick ends because a copy is not ready yet."""
        return self._warning(
            "NotReady", f"Halt {self.who} advancement {which} not ready: {message or 'waiting for its rollout'}", once=True
        )

    def primary_stuck_at_birth(self, message: str) -> Notice:
        """Bootstrap: the primary does not become ready."""
        text = f"Initialization of {self.who} halted, primary {self.primary} not ready: {message}; {self.target} keeps serving"
        if self.canary.status.pinned_images:
            text += "; it has what was promoted last: to begin with the template, set onBootstrap.primary of the GitSink to template"
        return self._warning("PrimaryStuck", text, once=True, severity=Severity.ERROR)

    def stuck(self, which: str, message: str) -> Notice:
        """A copy exceeded its progress deadline (an alert that upstream never sends, Q3)."""
        text = f"Rolling back {self.who} progress deadline exceeded, {which} not ready: {message}"
        return self._warning("Stuck", text, severity=Severity.ERROR)

    def threshold_reached(self, failed: int) -> Notice:
        """Enough failed checks."""
        message = f"Rolling back {self.who} failed checks threshold reached {failed}"
        return Notice(message, "ThresholdReached", self.phase, warning=True, severity=Severity.ERROR, with_checks=True)

    def critical_failed(self, text: str) -> Notice:
        """A critical check has a value out of its bounds."""
        message = f"Rolling back {self.who} critical check failed: {text}"
        return Notice(message, "CriticalCheckFailed", self.phase, warning=True, severity=Severity.ERROR, with_checks=True)

    def held(self, reason: str) -> Notice:
        """A verdict against the run with `onFailure: hold`."""
        message = f"Holding {self.who} weights stay until a person decides (onFailure: hold): {reason}"
        why = reason.rstrip(".")
        alert = f"{self.who} waits for a person, its weights stay (onFailure: hold): {why}. Annotate the Canary with {CHOICE}."
        return Notice(message, "AnalysisHeld", self.phase, warning=True, severity=Severity.ERROR, alert=alert, with_checks=True)

    # ------------------------------------------------------------------------------------------------ commands

    def aborted(self, said: str) -> Notice:
        """A person ends the run."""
        return self._warning("Aborted", f"Rolling back {self.who} on command: {said}", severity=Severity.WARN)

    def retried(self, said: str) -> Notice:
        """A person has a run analysed again that waited for one."""
        text = f"Analysis of {self.who} begins anew at its present weight on command: {said}"
        return Notice(text, "AnalysisRetried", self.phase, severity=Severity.INFO)

    def promoted_by_command(self, said: str, *, against: str) -> Notice:
        """A person promotes a run that waited for one."""
        text = f"Promotion of {self.who} on command: {said}, against the verdict: {against}"
        return self._warning("PromotedByCommand", text, severity=Severity.WARN)

    def not_obeyed(self, command: str, why: str) -> Notice:
        """A command that cannot be read, or that nothing waits for. It is not tried again."""
        return self._warning("CommandRefused", f"Command {command!r} to {self.who} not obeyed: {why}")

    # ------------------------------------------------------------------------------------------------ how it ends

    def rolled_back(self) -> Notice:
        """A run failed; the primary has all traffic."""
        return Notice(f"Canary failed! Scaling down {self.who}", "RolledBack", Phase.FAILED, warning=True)

    def rolled_back_onto_target(self) -> Notice:
        """A run failed while the primary cannot serve."""
        text = f"Canary failed! {self.who}: the primary {self.primary} cannot serve, so {self.target} keeps all of the traffic"
        return Notice(text, "RolledBack", Phase.FAILED, warning=True, severity=Severity.ERROR)

    def promotion_failed(self, message: str) -> Notice:
        """The primary does not become ready with the new revision."""
        text = f"Promotion of {self.target} failed, primary not ready: {message}"
        return Notice(text, "PromotionFailed", self.phase, warning=True, severity=Severity.ERROR)

    def finished_without_target(self, message: str) -> Notice:
        """The target got stuck while the primary already had the new revision."""
        text = f"{self.target} got stuck while it was being promoted ({message}); the primary is ready and takes over at once"
        return self._warning("TargetStuck", text, once=True)

    def primary_rebuilt(self) -> Notice:
        """The primary was deleted, and the target has the promoted revision."""
        text = f"Primary {self.primary} is missing: it is created again from the promoted revision"
        return self._warning("PrimaryMissing", text, once=True, severity=Severity.ERROR)

    def primary_missing(self) -> Notice:
        """The primary was deleted, and the target has another revision (Q12)."""
        text = (
            f"Primary {self.primary} is missing and {self.target} has a revision that was never promoted: no primary is made from it; "
            f"{self.target} is the only copy left and gets the traffic until a revision is promoted"
        )
        return self._warning("PrimaryMissing", text, once=True, severity=Severity.ERROR)

    def primary_restored(self) -> Notice:
        """The primary is back, and gets its traffic back."""
        return self._normal("PrimaryRestored", f"Primary {self.primary} serves again: Routing all traffic to primary")

    def target_stuck_on_deletion(self, message: str) -> Notice:
        """Deletion waits for a target that exceeded its deadline."""
        text = f"Terminating canary {self.who} halted, {self.target} not ready: {message}; the primary is kept until it is"
        return self._warning("Stuck", text, once=True, severity=Severity.ERROR)

    # ------------------------------------------------------------------------------------------- who delivers it

    def converged(self, message: str) -> Notice:
        """A failed release is out of Git, and out of the target."""
        return self._normal("Converged", f"Git and cluster agree again about {self.who}: {message}", once=True)

    def revert_undone(self, kind: str, message: str) -> Notice:
        """The revert was applied or passed by (`RevertDrift`, `SetAgain`), and the target is not what was promoted."""
        return self._warning(kind, f"The revert of {self.who} did not bring back what was promoted: {message}", once=True)

    def replicas_contested(self, by: str) -> Notice:
        """The target is parked, and scaled up again by the engine that delivers it."""
        text = (
            f"{by} sets spec.replicas of {self.target}, which has no traffic and is parked at 0: it is left running. "
            "Remove spec.replicas from Git, or let the engine ignore that field"
        )
        return self._warning("ReplicasInGit", text, once=True)

    # ------------------------------------------------------------------------------------------------ the spec

    def match_ignored(self) -> Notice:
        """Provider `kubernetes` with `match`."""
        return self._warning("SpecIgnored", f"{self.who}: provider kubernetes cannot match requests, analysis.match is ignored", once=True)

    def iterations_forced(self, iterations: int) -> Notice:
        """Provider `kubernetes` with steps."""
        text = f"{self.who}: provider kubernetes cannot shift weights, {iterations} iterations of checks are made instead"
        return self._warning("IterationsForced", text, once=True)

    def schedule_stands_still(self) -> Notice:
        """A schedule that never advances (Q11)."""
        text = f"Halt {self.who} advancement the schedule has no step: set analysis.stepWeight, stepWeights or iterations above 0"
        return self._warning("NoStep", text, once=True)
