"""The Block: whose sessions, on which backend, for how long."""

from __future__ import annotations

import os
import threading
from functools import cache
from typing import TYPE_CHECKING, Literal

from pydantic import Field, SecretStr, field_validator

from session_block.credentials import (
    DOCUMENTATION_URL,
    LOGO_URL,
    IBMSessionCredentials,
    LocalPlatformCredentials,
    StrictBlock,
)
from session_block.decisions import Policy
from session_block.durations import duration_seconds, max_time_seconds
from session_block.errors import InvalidInputError
from session_block.ledger import Ledger, default_ledger_url
from session_block.plan import MAX_SESSIONS, SessionPlan
from session_block.policies import Policies
from session_block.references import ExecutionMode

if TYPE_CHECKING:
    from session_block.experiment import Experiment
    from session_block.references import SessionRef


_openings: dict[tuple[str, str | None, tuple[str, int] | None], Experiment] = {}
"""The experiments that flow runs of this process have open, each counting its requests once."""

_openings_lock = threading.Lock()


class QuantumSession(StrictBlock):
    """How to open an IBM Quantum session: credentials, backend and longest duration.

    Loading it makes no network call. Pass its *name* to flows, and load it inside: Prefect stores
    the parameters of a flow run, and masks secrets in them for good.

    Example:
        Open an experiment, or go on with it where it was interrupted:

        ```python
        from session_block import QuantumSession

        block = QuantumSession.load("BLOCK_NAME")
        with block.experiment("bell-pairs") as experiment:
            circuit = experiment.transpile(bell_circuit)
            result = experiment.run_sampler([circuit], shots=1000)
        ```
    """

    _block_type_name = "Quantum Session"
    _block_type_slug = "quantum-session"
    _logo_url = LOGO_URL
    _documentation_url = DOCUMENTATION_URL

    credentials: IBMSessionCredentials | LocalPlatformCredentials = Field(
        default=..., description="Whose account to use: IBM's, or the local platform's."
    )
    backend_name: str | None = Field(
        default=None,
        title="Backend",
        min_length=1,
        description=(
            "Name of the backend on which jobs run. Empty for the least busy one that is up when "
            "an experiment first needs it, and that experiment then keeps."
        ),
        examples=["ibm_fez"],
    )
    min_num_qubits: int | None = Field(
        default=None,
        ge=1,
        title="Least number of qubits",
        description="How many qubits a backend needs that is not named, or takes another's place.",
    )
    mode: ExecutionMode = Field(
        default="session",
        title="Execution mode",
        description=(
            "IBM's execution mode: an exclusive 'session', a 'batch' of jobs that need not follow "
            "one another, or single jobs ('job')."
        ),
    )
    max_time: int | str | None = Field(
        default=None,
        title="Maximum time",
        description=(
            "Longest time a session or batch may be open, in seconds or as text such as "
            "'2h 30m 40s'; empty for the platform's own maximum."
        ),
    )
    on_expiry: Literal["reopen", "fail"] | None = Field(
        default=None,
        title="Sessions that end",
        description=(
            "What happens when a session ends before its experiment does: 'reopen' a new one and "
            "go on in it, or 'fail'. Empty to reopen the experiment's own sessions, not borrowed "
            "ones."
        ),
    )
    min_time_left: int | str = Field(
        default=0,
        title="Least time left",
        description=(
            "A session with less time left gets no more jobs, and a new one takes its place: "
            "seconds, or text such as '5m'."
        ),
    )
    max_sessions: int = Field(
        default=MAX_SESSIONS,
        ge=1,
        title="Most sessions",
        description="How many sessions an experiment opens before it stops and asks.",
    )
    without_sessions: Literal["fail", "batch", "job"] = Field(
        default="fail",
        title="Plans without sessions",
        description=(
            "What happens where the instance's plan, such as the open one, has no sessions: "
            "'fail', or run in 'batch' or 'job' mode instead."
        ),
    )
    use_fractional_gates: bool | None = Field(
        default=False,
        title="Fractional gates",
        description=(
            "Whether circuits may use the backend's fractional gates; empty for all instructions "
            "that it has."
        ),
    )
    calibration_id: str | None = Field(
        default=None,
        title="Calibration",
        description="ID of the backend's calibration to be used; empty for the newest.",
    )
    in_maintenance: Literal["wait", "move"] = Field(
        default="wait",
        title="Backends that are down",
        description=(
            "What happens if the backend is down before the first job: 'wait' for it, or 'move' "
            "to another one. Afterwards an experiment always waits."
        ),
    )
    on_recalibration: Literal["continue", "stop"] = Field(
        default="continue",
        title="New calibrations",
        description=(
            "Whether an experiment goes on ('continue') after its backend was calibrated anew, or "
            "has to 'stop'."
        ),
    )
    ledger_url: SecretStr | None = Field(
        default=None,
        title="Ledger URL",
        description=(
            "Database that remembers every job, as an SQLAlchemy URL; several machines share one "
            "PostgreSQL. Empty for an SQLite file under PREFECT_HOME."
        ),
    )
    unsettled: Literal["resubmit", "hold"] = Field(
        default="resubmit",
        title="Submissions that cannot be settled",
        description=(
            "What becomes of a submission whose process died while sending it, and of which the "
            "platform shows no job: 'resubmit' it, or 'hold' it for an operator."
        ),
    )
    on_divergence: Literal["stop", "warn"] = Field(
        default="stop",
        title="Runs that diverge",
        description=(
            "What a resumed run does that asks for something new before it has asked for all that "
            "was recorded: 'stop' before it buys anything, or 'warn' and go on."
        ),
    )
    submissions_per_minute: int | None = Field(
        default=None,
        ge=1,
        title="Submissions per minute",
        description=(
            "Most jobs that one process submits in a minute. Empty to go as fast as the platform "
            "lets, which is learnt from its refusals."
        ),
    )

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

    def experiment(
        self, name: str | None = None, *, fresh: bool = False, uid: str | None = None
    ) -> Experiment:
        """Open an experiment: a new one, or the one of this name where it was interrupted.

        Makes no network call but with an empty ledger, which looks for the name at the platform:
        a lost disk loses no job. The session is opened, or reattached to, when it is first needed.
        Within one try of a flow run, an experiment that is opened again is the very same object.

        Args:
            name: Resumes across flow runs. ``None`` stands for the outermost flow run, whose
                retries all are the same experiment.
            fresh: Start the next experiment of this name. A retry of the flow run that did so goes
                on with that one.
            uid: Take the experiment of this name that has this UID.

        Raises:
            InvalidInputError: There is no flow run and no name, the experiment began on another
                backend, or an empty ledger finds several of this name at the platform.
            ConnectionFailedError: The ledger is empty, and the platform cannot be reached.
            LedgerError: The ledger cannot be read or trusted.
        """
        from session_block import runs
        from session_block.experiment import Experiment
        from session_block.identity import identify

        ledger = self.ledger()
        identity = identify(
            ledger,
            name,
            fresh=fresh,
            uid=uid,
            flow_run_id=runs.root_flow_run_id(),
            find_lost=self._experiments_named,
        )
        opening = (identity.uid, self.backend_name, runs.flow_attempt())
        with _openings_lock:
            if opening in _openings:
                return _openings[opening]
            experiment = Experiment(
                identity=identity,
                ledger=ledger,
                account=self.credentials.account,
                plan=self._plan,
                block=self._block_document_name,
                policies=self._policies,
            )
            if runs.inside():
                _openings[opening] = experiment
        return experiment

    def attach(self, session: SessionRef) -> Experiment:
        """Join an experiment that another process has opened; requests then need labels.

        Raises:
            InvalidInputError: The reference is of another experiment than this ledger knows.
        """
        from session_block.experiment import Experiment
        from session_block.identity import Identity
        from session_block.session_records import read_sessions

        ledger = self.ledger()
        if not read_sessions(ledger, session.uid):
            raise InvalidInputError(
                f"This ledger does not know experiment {session.experiment!r} number "
                f"{session.number}. Use the ledger in which it was opened."
            )
        return Experiment(
            identity=Identity(session.experiment, session.number, session.uid, resumed=True),
            ledger=ledger,
            account=self.credentials.account,
            plan=self._plan,
            block=session.block,
            opener=False,
            policies=self._policies,
        )

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
            min_time_left_seconds=duration_seconds(self.min_time_left, "min_time_left"),
            max_sessions=self.max_sessions,
        )

    @property
    def _policies(self) -> Policies:
        return Policies(
            unsettled=Policy(self.unsettled),
            may_diverge=self.on_divergence == "warn",
            submissions_per_minute=self.submissions_per_minute,
        )

    def _experiments_named(self, name: str) -> list[str]:
        """Return the UIDs of the experiments whose jobs bear a name at the platform."""
        from session_block.client import Connection
        from session_block.tags import name_tag, uid_of

        jobs = Connection(self.credentials.account()).jobs.named(name_tag(name))
        return list(dict.fromkeys(uid for job in jobs if (uid := uid_of(job.tags))))

    def ledger(self) -> Ledger:
        """Return the ledger, opened once in each process."""
        url = (
            default_ledger_url() if self.ledger_url is None else self.ledger_url.get_secret_value()
        )
        return _open_ledger(url, os.getpid())


def load_block(name: str) -> QuantumSession:
    """Load a Block by its name, from synchronous code.

    Raises:
        InvalidInputError: There is no such Block, or the caller is asynchronous.
    """
    try:
        loaded = QuantumSession.load(name)
    except ValueError as error:
        raise InvalidInputError(
            f"Prefect knows no QuantumSession Block {name!r}: {error}. Save one of that name, or "
            "check which Prefect server (PREFECT_API_URL) this process uses."
        ) from error
    if not isinstance(loaded, QuantumSession):
        loaded.close()
        raise InvalidInputError(
            f"Block {name!r} was to be loaded inside an event loop. Call this from a synchronous "
            "flow or task."
        )
    return loaded


@cache
def _open_ledger(url: str, _pid: int) -> Ledger:
    return Ledger(url)
