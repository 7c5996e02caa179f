"""The fields of the Block: what each means, and what it is checked for."""

from __future__ import annotations

import math
from typing import Literal, Self

from pydantic import BaseModel, Field, SecretStr, field_validator, model_validator

from session_block.blocks.credentials import IBMSessionCredentials, LocalPlatformCredentials
from session_block.blocks.durations import SYSTEM_MAX_TIME_SECONDS, max_time_seconds
from session_block.blocks.forms import Duration, FractionalDuration, YesNoAll
from session_block.environment.durations import duration_seconds
from session_block.errors import InvalidInputError
from session_block.pubs.families import default_implementation
from session_block.references import DEFAULT_IMPLEMENTATION, ExecutionMode, Implementation
from session_block.settings import MAX_SESSIONS, Limits, Policies, Policy, SessionPlan


class SessionSettings(BaseModel):
    """Whose sessions, on which backend, for how long, and what to do when something goes wrong."""

    credentials: IBMSessionCredentials | LocalPlatformCredentials = Field(
        default=...,
        description=(
            "The account to use, IBM's or the local platform's. Choose it again whenever you edit "
            "this Block in Prefect's UI, because the form forgets it."
        ),
    )
    backend_name: str | None = Field(
        default=None,
        title="Backend",
        min_length=1,
        description=(
            "Name of the backend on which jobs run. If empty, an experiment takes the least busy "
            "one that is up when it first needs one, and keeps it."
        ),
        examples=["ibm_fez"],
    )
    min_num_qubits: int | None = Field(
        default=None,
        ge=1,
        title="Least number of qubits",
        description="How many qubits a backend needs if it is not named, or replaces another one.",
    )
    mode: ExecutionMode = Field(
        default="session",
        title="Execution mode",
        description=(
            "IBM's execution mode: an exclusive 'session', a 'batch' of independent jobs, or "
            "single jobs ('job')."
        ),
    )
    max_time: Duration | None = Field(
        default=None,
        title="Maximum time",
        description=(
            "Longest time a session or batch may be open, in seconds or as text such as "
            "'2h 30m 40s'; empty for the platform's own maximum."
        ),
    )
    max_jobs: int | None = Field(
        default=None,
        ge=0,
        title="Most jobs of an experiment",
        description="How many jobs one experiment may submit; empty for no limit.",
    )
    max_usage: FractionalDuration | None = Field(
        default=None,
        title="Most usage of an experiment",
        description=(
            "How much usage one experiment may be charged with, in seconds or as text such as "
            "'10m'; jobs in flight may exceed it. Empty for no limit."
        ),
    )
    block_max_jobs: int | None = Field(
        default=None,
        ge=0,
        title="Most jobs of this Block",
        description=(
            "How many jobs all experiments of this Block may submit together, counted in the "
            "ledger that they share, from the time the limit is set. Empty for no limit."
        ),
    )
    block_max_usage: FractionalDuration | None = Field(
        default=None,
        title="Most usage of this Block",
        description=(
            "How much usage all experiments of this Block may be charged with together, counted "
            "like their jobs. Empty for no limit."
        ),
    )
    owner: str | None = Field(
        default=None,
        min_length=1,
        description=(
            "Whose experiments these are: a person or a group, such as 'h2-team'. A process whose "
            "ledger does not know a name takes up only its owner's experiment of that name. Empty "
            "for the identity of the account at IBM."
        ),
        examples=["h2-team"],
    )
    ledger_url: SecretStr | None = Field(
        default=None,
        title="Ledger URL",
        description=(
            "Database that remembers every job, as an SQLAlchemy URL; several machines share one "
            "PostgreSQL. Empty for an SQLite file under PREFECT_HOME."
        ),
    )
    on_expiry: Literal["reopen", "fail"] | None = Field(
        default=None,
        title="Sessions that end",
        description=(
            "What happens if a session ends before its experiment does: 'reopen' opens a new one "
            "and continues in it, 'fail' stops. If empty, the experiment's own sessions are "
            "reopened, borrowed ones are not."
        ),
    )
    on_stop: Literal["stop", "reopen"] = Field(
        default="stop",
        title="When somebody stops it",
        description=(
            "What happens if a person, or the instance's cost limit, ends the session: 'stop' buys "
            "nothing more until somebody resumes the experiment, 'reopen' goes on once in a new "
            "session."
        ),
    )
    min_time_left: Duration = Field(
        default="0s",
        title="Least time left",
        description=(
            "A session with less time left gets no more jobs, and a new one replaces it: seconds, "
            "or text such as '5m'."
        ),
    )
    max_sessions: int = Field(
        default=MAX_SESSIONS,
        ge=1,
        title="Most sessions",
        description="How many sessions an experiment opens before it stops and asks.",
    )
    keep_failed: Duration = Field(
        default="15m",
        title="Sessions of failed runs",
        description=(
            "How long the session of a failed run is kept for a retry: seconds, or text such as "
            "'15m'. 0 closes it at once; otherwise the flow 'tidy' closes it afterwards. No "
            "session lasts longer than '8h'."
        ),
    )
    without_sessions: Literal["fail", "batch", "job"] = Field(
        default="fail",
        title="Plans without sessions",
        description=(
            "What happens if the instance's plan, such as the open one, has no sessions: 'fail', "
            "or run in 'batch' or 'job' mode instead."
        ),
    )
    in_maintenance: Literal["wait", "move"] = Field(
        default="wait",
        title="Backends that are down",
        description=(
            "What happens if the backend is down before the first job: 'wait' for it, or 'move' "
            "to another one. Afterwards an experiment always waits."
        ),
    )
    on_recalibration: Literal["continue", "relearn", "stop"] = Field(
        default="continue",
        title="New calibrations",
        description=(
            "What an experiment does after its backend was recalibrated: 'continue', continue but "
            "'relearn' noise models, or 'stop'."
        ),
    )
    use_fractional_gates: YesNoAll = Field(
        default=False,
        json_schema_extra={"default": "no"},
        title="Fractional gates",
        description=(
            "Whether circuits may use the backend's fractional gates: 'no', 'yes', or 'all' "
            "instructions that it has."
        ),
    )
    calibration_id: str | None = Field(
        default=None,
        title="Calibration",
        description="ID of the backend's calibration to use; empty for the newest.",
    )
    unsettled: Literal["resubmit", "hold"] = Field(
        default="resubmit",
        title="Submissions that cannot be settled",
        description=(
            "What to do with a submission if its process died while sending it, and the platform "
            "shows no job of it: 'resubmit' it, or 'hold' it for an operator."
        ),
    )
    on_divergence: Literal["stop", "warn"] = Field(
        default="stop",
        title="Runs that diverge",
        description=(
            "What happens if a resumed run asks for something new before it has asked for "
            "everything recorded: 'stop' before it buys anything, or 'warn' and continue."
        ),
    )
    implementation: Implementation = Field(
        default=DEFAULT_IMPLEMENTATION,
        title="Family of primitives",
        description=(
            "Which of the client's primitives new experiments use: 'executor' (the newer ones) or "
            "'v2' (SamplerV2 and EstimatorV2, which IBM has deprecated). An experiment keeps the "
            "one that it began with."
        ),
    )
    keep_raw: bool = Field(
        default=False,
        title="Keep raw results",
        description=(
            "Record also the raw bits of executor jobs, so that their results can be processed "
            "again (experiment.reprocess) when IBM no longer keeps them."
        ),
    )
    max_attempts: int = Field(
        default=10,
        ge=1,
        title="Most attempts without progress",
        description=(
            "How many attempts of a flow run in a row may end without a new result before it is "
            "stopped instead of tried again."
        ),
    )
    submissions_per_minute: int | None = Field(
        default=None,
        ge=1,
        title="Submissions per minute",
        description=(
            "How many jobs one process may submit in a minute. If empty, it goes as fast as the "
            "platform allows, which it learns from refusals."
        ),
    )

    @field_validator("backend_name")
    @classmethod
    def _backend_is_no_mock(cls, backend_name: str | None) -> str | None:
        if (backend_name or "").startswith("mock_"):
            raise InvalidInputError(
                f"{backend_name!r} is a mock for dry runs: its results are random numbers, which "
                "must not become recorded results. Name the device itself, and rehearse on the "
                "local platform."
            )
        return backend_name

    @field_validator("max_time")
    @classmethod
    def _max_time_is_a_duration(cls, max_time: int | str | None) -> int | str | None:
        max_time_seconds(max_time)
        return max_time

    @field_validator("min_time_left")
    @classmethod
    def _min_time_left_is_a_duration(cls, min_time_left: int | str) -> int | str:
        if duration_seconds(min_time_left, "min_time_left") < 0:
            raise InvalidInputError(f"min_time_left {min_time_left!r} is negative.")
        return min_time_left

    @field_validator("keep_failed")
    @classmethod
    def _keep_failed_is_a_duration(cls, keep_failed: int | str) -> int | str:
        if duration_seconds(keep_failed, "keep_failed") < 0:
            raise InvalidInputError(f"keep_failed {keep_failed!r} is negative.")
        return keep_failed

    @field_validator("max_usage", "block_max_usage")
    @classmethod
    def _max_usage_is_a_duration(cls, max_usage: float | str | None) -> float | str | None:
        seconds = _seconds(max_usage)
        if seconds is not None and not 0 <= seconds < math.inf:
            raise InvalidInputError(
                f"A limit of {max_usage!r} s of usage is not possible: give a finite number, "
                "0 or more."
            )
        return max_usage

    @model_validator(mode="after")
    def _sessions_have_the_time_left(self) -> Self:
        longest = max_time_seconds(self.max_time) or SYSTEM_MAX_TIME_SECONDS
        if duration_seconds(self.min_time_left, "min_time_left") >= longest:
            raise InvalidInputError(
                f"min_time_left {self.min_time_left!r} is not shorter than the longest session "
                f"({longest} s), so each session would get one job at most. Make it shorter."
            )
        return self

    @model_validator(mode="after")
    def _calibration_is_of_a_backend(self) -> Self:
        if self.calibration_id is not None and self.backend_name is None:
            raise InvalidInputError(
                "A calibration belongs to a backend: name it (backend_name), or leave "
                "calibration_id empty."
            )
        return self

    @property
    def _plan(self) -> SessionPlan:
        return SessionPlan(
            backend_name=self.backend_name,
            min_num_qubits=self.min_num_qubits,
            use_fractional_gates=self.use_fractional_gates,
            calibration_id=self.calibration_id,
            in_maintenance=self.in_maintenance,
            on_recalibration=self.on_recalibration,
            mode=self.mode,
            max_time_seconds=max_time_seconds(self.max_time),
            without_sessions=self.without_sessions,
            on_expiry=self.on_expiry,
            on_stop=self.on_stop,
            min_time_left_seconds=duration_seconds(self.min_time_left, "min_time_left"),
            max_sessions=self.max_sessions,
            submissions_per_minute=self.submissions_per_minute,
        )

    @property
    def _policies(self) -> Policies:
        return Policies(
            unsettled=Policy(self.unsettled),
            may_diverge=self.on_divergence == "warn",
            limits=Limits(self.max_jobs, _seconds(self.max_usage)),
            block_limits=Limits(self.block_max_jobs, _seconds(self.block_max_usage)),
            keep_failed_seconds=duration_seconds(self.keep_failed, "keep_failed"),
            implementation=self._implementation,
            keep_raw=self.keep_raw,
        )

    @property
    def _implementation(self) -> Implementation:
        """The family of new experiments; a default that the client lacks gives way to the other."""
        given = "implementation" in self.model_fields_set
        return self.implementation if given else default_implementation()


def _seconds(duration: float | str | None) -> float | None:
    return duration_seconds(duration, "A limit") if isinstance(duration, str) else duration
