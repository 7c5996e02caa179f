"""An experiment's backend, chosen once, and the calibration at the time of its submissions."""

from __future__ import annotations

import logging
from typing import Literal

from session_block.client import BackendChoice, Connection
from session_block.environment.backoff import ExponentialPause
from session_block.errors import BackendNotFoundError, BackendRecalibratedError, InvalidInputError
from session_block.records.context import ExperimentContext
from session_block.records.keys import BackendChosen, CalibrationSeen
from session_block.settings import SessionPlan
from session_block.tags import uid_tag

CHECK_SECONDS = 300.0
"""How often a calibration is asked for again where the experiment has not the backend to itself."""

_logger = logging.getLogger(__name__)


class CalibrationWatch:
    """Knows when the backend was calibrated, and stops an experiment that wants one calibration.

    No calibration happens inside an active session; the backend is asked again with each session,
    and every five minutes of submitting. Limit: a job that waits in a queue may run under a later
    calibration than the one that its submission records.

    Args:
        context: The experiment, whose first calibration is recorded.
        connection: Where to ask.
        pinned: The experiment's backend.
        policy: Whether the experiment goes on after the backend was calibrated anew.
    """

    def __init__(
        self,
        context: ExperimentContext,
        connection: Connection,
        pinned: PinnedBackend,
        policy: Literal["continue", "stop"],
    ) -> None:
        self._context = context
        self._connection = connection
        self._pinned = pinned
        self._stops = policy == "stop"
        self._seen: str | None = None
        self._session_id: str | None = None
        self._asked_at: float | None = None

    def look(self, session_id: str | None) -> str | None:
        """Return the time of the backend's calibration, as ISO 8601; ``None`` if it has none.

        Args:
            session_id: The session that the next job runs in.

        Raises:
            BackendRecalibratedError: It was calibrated anew, and the experiment stops then.
            ConnectionFailedError: The platform does not tell.
        """
        if self._is_due(session_id):
            backend = self._pinned.choice()
            moment = self._connection.backends.calibrated_at(backend)
            self._seen = None if moment is None else moment.isoformat()
            self._session_id = session_id
            self._asked_at = self._context.environment.monotonic()
            if self._stops:
                self._compare(backend.name)
        return self._seen

    def _is_due(self, session_id: str | None) -> bool:
        return (
            self._asked_at is None
            or session_id != self._session_id
            or self._context.environment.monotonic() - self._asked_at > CHECK_SECONDS
        )

    def _compare(self, backend: str) -> None:
        first, _ = self._context.journal.record(CalibrationSeen(calibrated_at=self._seen))
        began_with = first.calibrated_at
        if began_with != self._seen:
            self._asked_at = None
            raise BackendRecalibratedError(
                f"Backend {backend} was calibrated at {self._seen}, but experiment "
                f"{self._context.identity} began with its calibration of {began_with}, and its "
                "Block says on_recalibration='stop'. Nothing was submitted. To go on all the "
                "same say 'continue'; to begin with the new calibration, fresh=True.",
                experiment=self._context.uid,
            )


class PinnedBackend:
    """Chooses an experiment's backend when it is first needed, and never again.

    Args:
        context: The experiment.
        connection: Its instance.
        plan: What the Block says of the backend.
    """

    def __init__(
        self, context: ExperimentContext, connection: Connection, plan: SessionPlan
    ) -> None:
        self._context = context
        self._journal = context.journal
        self._connection = connection
        self._plan = plan
        self._choice: BackendChoice | None = None

    def choice(self) -> BackendChoice:
        """Return the experiment's backend.

        While a backend is in maintenance, waits for it or takes another one, but only before one is
        pinned: circuits are transpiled for the pinned one.

        Raises:
            BackendNotFoundError: The instance has no such backend.
            InvalidInputError: The experiment began at another instance.
            ConnectionFailedError: The platform cannot be reached.
        """
        if self._choice is None:
            known = self.known()
            self._choice = self.pin(*self._chosen()) if known is None else known
        return self._choice

    def known(self) -> BackendChoice | None:
        """Return the experiment's backend if it has one, without choosing it.

        Raises:
            InvalidInputError: The experiment began at another instance.
        """
        chosen = self._journal.get(BackendChosen)
        return None if chosen is None else self._checked(chosen)

    def wanted(self, name: str) -> BackendChoice:
        """Return a backend of this name with what the Block wants of it."""
        # A calibration is the named backend's own, and means nothing on another one.
        own = name == self._plan.backend_name
        return BackendChoice(
            name, self._plan.use_fractional_gates, self._plan.calibration_id if own else None
        )

    def pin(self, name: str, because: str) -> BackendChoice:
        """Make a backend the experiment's, unless it has one; return the one it has."""
        wanted = self.wanted(name)
        chosen, _ = self._journal.record(
            BackendChosen(
                name=wanted.name,
                use_fractional_gates=wanted.use_fractional_gates,
                calibration_id=wanted.calibration_id,
                instance=self._connection.instance,
                because=because,
            )
        )
        self._choice = self._checked(chosen)
        return self._choice

    def _checked(self, chosen: BackendChosen) -> BackendChoice:
        if chosen.instance != self._connection.instance:
            raise InvalidInputError(
                f"Experiment {self._context.identity} began at the instance {chosen.instance}, "
                f"but the Block names {self._connection.instance}. Nothing was submitted. Use a "
                "Block of the former, or start anew with fresh=True.",
                experiment=self._context.uid,
            )
        return BackendChoice(chosen.name, chosen.use_fractional_gates, chosen.calibration_id)

    def _chosen(self) -> tuple[str, str]:
        """Return a backend's name, and why it is the one."""
        if self._context.identity.lost and (used := self._used_before()) is not None:
            return used, "its jobs ran there before the ledger was lost"
        if self._plan.backend_name is None:
            return self._least_busy(), "least busy"
        return self._named(self._plan.backend_name)

    def _named(self, name: str) -> tuple[str, str]:
        wanted = self.wanted(name)
        pause = ExponentialPause(self._context.environment)
        while (why := self._connection.backends.why_not_up(wanted)) is not None:
            if self._plan.in_maintenance == "move":
                qubits = self._connection.backends.get(wanted).num_qubits
                needed = qubits if self._plan.min_num_qubits is None else self._plan.min_num_qubits
                other = self._first_up(needed)
                if other is not None:
                    because = f"instead of {name}, which was down: {why}"
                    _logger.warning(
                        "Experiment %s runs on %s %s.", self._context.identity, other, because
                    )
                    return other, because
            self._wait(f"backend {name} is down: {why}", pause)
        return name, "by name"

    def _least_busy(self) -> str:
        needed = self._plan.min_num_qubits
        pause = ExponentialPause(self._context.environment)
        while (up := self._first_up(needed)) is None:
            known = [one for one in self._connection.backends.names(needed) if self._has(one)]
            if not known:
                gates = " and fractional gates" if self._plan.use_fractional_gates else ""
                raise BackendNotFoundError(
                    f"The instance {self._connection.instance} has no backend with at least "
                    f"{needed or 1} qubits{gates}. Ask for less, or use another instance."
                )
            self._wait(f"none of {', '.join(known)} is up", pause)
        return up

    def _first_up(self, num_qubits: int | None) -> str | None:
        """Return the least busy backend that has what is wanted, if one is up."""
        up = self._connection.backends.least_busy(num_qubits)
        return next((name for name in up if self._has(name)), None)

    def _has(self, name: str) -> bool:
        try:
            self._connection.backends.get(self.wanted(name))
        except BackendNotFoundError:
            return False
        return True

    def _wait(self, why: str, pause: ExponentialPause) -> None:
        _logger.warning(
            "Experiment %s waits for its backend before its first job: %s.",
            self._context.identity,
            why,
        )
        self._context.environment.pause(pause.next())

    def _used_before(self) -> str | None:
        """Return the backend that the experiment's jobs ran on before the ledger was lost."""
        jobs = self._connection.jobs.named(uid_tag(self._context.uid))
        return next((job.backend for job in jobs if job.backend is not None), None)
