"""`spec.analysis`: how a new version is judged, step by step.

What upstream's code coerces (an interval that is no duration, a threshold of zero, a maximum weight that was left out) is
coerced in properties here, beside the raw values, so that nobody else repeats those rules. The properties never raise: what
is worth a complaint is reported by `canary.api.validation` before a canary is scheduled.
"""

from __future__ import annotations

import enum
from typing import Annotated, Any, Final

from pydantic import ConfigDict, Field

from canary.api.common import (
    Flag,
    Integer,
    Interval,
    Model,
    Number,
    SecretRef,
    StringMap,
    Text,
    Whole,
    seconds_or,
)
from canary.api.matches import AnalysisMatch
from canary.api.sequential import FRESH_RULES, FRESH_TOP_WEIGHT, JUDGED_TOP_WEIGHT, Baseline, Judge, Sequential

DEFAULT_INTERVAL_SECONDS: Final = 60.0
"""For an interval that is missing or no duration (upstream)."""
SHORTEST_INTERVAL_SECONDS: Final = 1.0
"""Shorter intervals are raised to this; upstream's floor is 10."""
DEFAULT_METRIC_INTERVAL: Final = "1m"
DEFAULT_TIMEOUT_SECONDS: Final = 10.0
TOTAL_WEIGHT: Final = 100
BUILTIN_METRICS: Final = ("request-success-rate", "request-duration")
"""Checks whose query belongs to the router of the mesh."""


class OnFailure(enum.StrEnum):
    """What a verdict against the new version does: reaching the threshold, a critical check, or evidence."""

    ROLLBACK = "rollback"
    HOLD = "hold"


class NoData(enum.StrEnum):
    """What a check without data counts as."""

    FAIL = "fail"
    HOLD = "hold"
    PASS = "pass"  # noqa: S105 - not a password


class OnError(enum.StrEnum):
    """What a check that could not be asked counts as."""

    FAIL = "fail"
    HOLD = "hold"


class Role(enum.StrEnum):
    """How much a check may decide by itself."""

    CRITICAL = "critical"
    INFORMATIONAL = "informational"


class WebhookType(enum.StrEnum):
    """When a webhook is called. DEFAULT (empty) is ROLLOUT."""

    DEFAULT = ""
    CONFIRM_ROLLOUT = "confirm-rollout"
    PRE_ROLLOUT = "pre-rollout"
    ROLLOUT = "rollout"
    CONFIRM_TRAFFIC_INCREASE = "confirm-traffic-increase"
    CONFIRM_PROMOTION = "confirm-promotion"
    POST_ROLLOUT = "post-rollout"
    ROLLBACK = "rollback"
    EVENT = "event"


class AlertSeverity(enum.StrEnum):
    """Lowest severity that is sent. DEFAULT (empty) is INFO."""

    DEFAULT = ""
    INFO = "info"
    WARN = "warn"
    ERROR = "error"


class SameSite(enum.StrEnum):
    """Whether a cookie goes along with cross-site requests."""

    STRICT = "Strict"
    LAX = "Lax"
    NONE = "None"


# ------------------------------------------------------------------------------------------------------ checks


class ThresholdRange(Model):
    """Accepted values, both bounds included; a missing bound accepts everything on its side."""

    min: Number | None = None
    """Smallest accepted value."""
    max: Number | None = None
    """Largest accepted value."""


class TemplateRef(Model):
    """A MetricTemplate."""

    name: Text
    """Name of the MetricTemplate."""
    namespace: Text = ""
    """Its namespace; the canary's own when absent."""


class Metric(Model):
    """One check: a built-in of the mesh (by name), a MetricTemplate, or an inline query."""

    name: Text
    """Name of the check; `request-success-rate` (percent) and `request-duration` (milliseconds) are built in."""
    interval: Interval = ""
    """Window of the query; 1m when absent."""
    threshold: Number | None = None
    """Older form of a bound: the smallest accepted value of request-success-rate, the largest of every other check."""
    threshold_range: ThresholdRange | None = None
    """Accepted values; hides `threshold`."""
    query: Text = ""
    """Inline PromQL; a MetricTemplate is preferred."""
    template_ref: TemplateRef | None = None
    """MetricTemplate that holds the query and says where to ask."""
    template_variables: StringMap = Field(default_factory=dict)
    """Values for `{{ variables.<key> }}` in the template."""
    no_data: NoData = NoData.FAIL
    """What an answer without data means: fail (the default, as upstream), hold (wait, count nothing), or pass."""
    on_error: OnError = OnError.FAIL
    """What a source that cannot be asked means: fail (the default, as upstream) or hold (wait, count nothing)."""
    role: Role | None = None
    """critical: one value out of bounds ends the run, whatever the threshold; informational: shown and never counted; absent: counted."""
    dry_run: Flag = False
    """Evaluate and show the check, but let it decide nothing; the same as role: informational."""
    min_samples: Annotated[Integer | None, Field(json_schema_extra={"minimum": 0})] = None
    """Fewer samples than this in the window count as no data; needs a source that knows the number of samples."""

    @property
    def informational(self) -> bool:
        """Whether the check is shown and decides nothing: by its role, or by the older word `dryRun`, which wins."""
        return self.dry_run or self.role is Role.INFORMATIONAL

    @property
    def critical(self) -> bool:
        """Whether one value out of bounds ends the run."""
        return self.role is Role.CRITICAL and not self.informational

    @property
    def interval_effective(self) -> str:
        """The window as duration text, for the query."""
        return self.interval or DEFAULT_METRIC_INTERVAL

    @property
    def interval_seconds(self) -> float:
        """The window in seconds; one minute when it is no duration."""
        return seconds_or(self.interval_effective, 60.0)

    @property
    def builtin(self) -> bool:
        """Whether the mesh's router has the query."""
        return self.name in BUILTIN_METRICS

    @property
    def bounds(self) -> ThresholdRange:
        """Accepted values, from `thresholdRange` or else from `threshold` (reference: neither means a threshold of 0)."""
        if self.threshold_range is not None:
            return self.threshold_range
        bound = self.threshold or 0.0
        return ThresholdRange(min=bound) if self.name == "request-success-rate" else ThresholdRange(max=bound)


# -------------------------------------------------------------------------------------- hooks, alerts, cookies


class Webhook(Model):
    """One call to a service of the user's: a gate, a test, or a notification."""

    name: Text
    """Name of the webhook in events and alerts."""
    type: WebhookType = WebhookType.DEFAULT
    """When it is called; `rollout`, at each check, when absent."""
    url: Text
    """Where the POST goes."""
    timeout: Interval = ""
    """Time limit of one attempt; 10s when absent."""
    retries: Whole = 0
    """How many more attempts follow one that could not be completed."""
    mute_alert: Flag = False
    """Send no alert when this gate holds the release."""
    disable_tls: Annotated[Flag, Field(alias="disableTLS")] = False
    """Accept any certificate."""
    metadata: StringMap = Field(default_factory=dict)
    """Values passed on in the body of the call."""
    secret_ref: SecretRef | None = None
    """Secret in the canary's namespace with request headers, a CA bundle (`ca.crt`) or a client certificate (`tls.crt`, `tls.key`)."""
    success_codes: Annotated[
        tuple[Integer, ...], Field(json_schema_extra={"items": {"type": "integer", "minimum": 100, "maximum": 599}})
    ] = ()
    """HTTP codes that mean success; every 2xx when absent."""

    @property
    def type_effective(self) -> WebhookType:
        """`type`, where empty is ROLLOUT."""
        return self.type or WebhookType.ROLLOUT

    @property
    def timeout_seconds(self) -> float:
        """Limit of one attempt; 10 s when the text is shorter than 2 characters, no duration, or not above zero."""
        seconds = seconds_or(self.timeout, DEFAULT_TIMEOUT_SECONDS) if len(self.timeout) >= 2 else DEFAULT_TIMEOUT_SECONDS
        return seconds if seconds > 0 else DEFAULT_TIMEOUT_SECONDS

    @property
    def attempts(self) -> int:
        """How often the call is made at most."""
        return 1 + max(0, self.retries)

    def succeeds(self, code: int) -> bool:
        """Whether this HTTP code means success."""
        return code in self.success_codes if self.success_codes else 200 <= code < 300


class ProviderRef(Model):
    """An AlertProvider."""

    name: Text
    """Name of the AlertProvider."""
    namespace: Text = ""
    """Its namespace; the canary's own when absent."""


class Alert(Model):
    """Where the story of a release is told."""

    name: Text
    """Name of the alert."""
    severity: AlertSeverity = AlertSeverity.DEFAULT
    """Lowest severity that is sent; info when absent."""
    provider_ref: ProviderRef
    """AlertProvider that sends it."""

    @property
    def severity_effective(self) -> AlertSeverity:
        """`severity`, where empty is INFO."""
        return self.severity or AlertSeverity.INFO


class SessionAffinity(Model):
    """Keep a user who met the canary on the canary, by a cookie."""

    cookie_name: Text
    """Name of the cookie for users of the canary."""
    primary_cookie_name: Text = ""
    """Name of the cookie that keeps users on the primary until the next step; none when absent."""
    domain: Text = ""
    """Domain attribute of the cookie."""
    http_only: Flag = False
    """HttpOnly attribute of the cookie: hidden from scripts."""
    max_age: Annotated[Whole, Field(json_schema_extra={"default": 86400})] = 86400
    """Lifetime of the cookie in seconds; 0 means one day."""
    partitioned: Flag = False
    """Partitioned attribute of the cookie."""
    path: Text = ""
    """Path attribute of the cookie."""
    same_site: SameSite | None = None
    """SameSite attribute of the cookie."""
    secure: Flag = False
    """Secure attribute of the cookie: sent over HTTPS only."""

    @property
    def max_age_effective(self) -> int:
        """Lifetime in seconds; 0 means one day."""
        return self.max_age or 86400


# ---------------------------------------------------------------------------------------------------- analysis

SCHEDULE_FIELDS: Final = ("iterations", "stepWeight", "stepWeights")
"""The three ways to say how a release advances; exactly one is given."""
SCHEDULE_RULE: Final[dict[str, Any]] = {"oneOf": [{"required": ["interval", "threshold", name]} for name in SCHEDULE_FIELDS]}


class Analysis(Model):
    """How a release advances, what is checked at each step, and what a failed check means."""

    model_config = ConfigDict(json_schema_extra=SCHEDULE_RULE | {"x-kubernetes-validations": FRESH_RULES})

    interval: Interval = ""
    """Time between two checks, at least 1s."""
    iterations: Whole = 0
    """Number of checks of an A/B test or a blue/green release."""
    threshold: Whole = 0
    """Number of failed checks at which the release fails."""
    max_weight: Whole = 0
    """Percent of the traffic at which the canary is promoted; 100 when absent."""
    step_weight: Whole = 0
    """Percent of the traffic by which the canary's share grows at each step."""
    step_weights: tuple[Whole, ...] = ()
    """Shares of the canary, step by step, in percent."""
    step_weight_promotion: Whole = 0
    """Percent of the traffic that goes back to the primary at each step of the promotion; all at once when absent."""
    mirror: Flag = False
    """Send a copy of the traffic to the canary before real traffic."""
    mirror_weight: Whole | None = None
    """Percent of the traffic that is copied; the mesh's default when absent."""
    primary_ready_threshold: Whole | None = None
    """Percent of the primary's pods that must be available; 100 when absent."""
    canary_ready_threshold: Whole | None = None
    """Percent of the canary's pods that must be available; 100 when absent."""
    match: tuple[AnalysisMatch, ...] = ()
    """Which requests meet the canary; with `iterations` an A/B test, with weights the steps apply to these requests."""
    metrics: tuple[Metric, ...] = ()
    """Checks at each step."""
    webhooks: tuple[Webhook, ...] = ()
    """Calls before, during and after the release."""
    alerts: tuple[Alert, ...] = ()
    """Where the story of the release is told."""
    session_affinity: SessionAffinity | None = None
    """Keep users on the version that they met first."""
    on_failure: OnFailure = OnFailure.ROLLBACK
    """What a verdict against the new version does: rollback (the default), or hold, which keeps the weights, alarms once and waits for a person."""
    judge: Judge = Judge.THRESHOLD
    """Who decides: threshold (the default, counted checks), guarded (so, unless the primary fails too; evidence sooner), or sequential (evidence)."""
    baseline: Baseline = Baseline.PRIMARY
    """What evidence compares with: primary (the default), or fresh, a copy of the old version that starts with the canary and has its size."""
    sequential: Sequential = Field(default_factory=Sequential)
    """How evidence against the primary is weighed, where `judge` is not threshold."""

    @property
    def interval_seconds(self) -> float:
        """Seconds between two ticks: 60 when `interval` is no duration, never below 1."""
        return max(SHORTEST_INTERVAL_SECONDS, seconds_or(self.interval, DEFAULT_INTERVAL_SECONDS))

    @property
    def threshold_count(self) -> int:
        """Failed checks at which the release fails; at least 1."""
        return self.threshold if self.threshold > 0 else 1

    @property
    def max_weight_effective(self) -> int:
        """Weight at which promotion starts: the last of `stepWeights` (at most 100), else `maxWeight`, else 100 (if evidence decides 50, or 33)."""
        if self.step_weights:
            return min(TOTAL_WEIGHT, self.step_weights[-1])
        if self.max_weight > 0:
            return self.max_weight
        if self.judge is not Judge.SEQUENTIAL:
            return TOTAL_WEIGHT
        return FRESH_TOP_WEIGHT if self.baseline is Baseline.FRESH else JUDGED_TOP_WEIGHT

    @property
    def primary_ready_percent(self) -> int:
        """Percent of the primary's pods that must be available."""
        return 100 if self.primary_ready_threshold is None else self.primary_ready_threshold

    @property
    def canary_ready_percent(self) -> int:
        """Percent of the target's pods that must be available."""
        return 100 if self.canary_ready_threshold is None else self.canary_ready_threshold

    @property
    def given_schedules(self) -> tuple[str, ...]:
        """Which of `SCHEDULE_FIELDS` the manifest names, as it spells them."""
        present = self.model_fields_set
        return tuple(
            name for name, field in zip(SCHEDULE_FIELDS, ("iterations", "step_weight", "step_weights"), strict=True) if field in present
        )
