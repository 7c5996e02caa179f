"""Choose an experiment's backend once, and watch the calibration its jobs are submitted under."""

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
"""How long an answer about the calibration is used before the backend is asked again."""

_logger = logging.getLogger(__name__)


class CalibrationWatch:
    """Knows when the backend was calibrated, and stops an experiment that wants one calibration.

    The backend is not calibrated during an active session. It is asked again for each new session,
    and when a submission finds the last answer older than five minutes. Limit: a job that waits in
    a queue may run under a later calibration than the one that its submission records.

    Args:
        context: The experiment, whose first calibration is recorded.
        connection: The connection to ask.
        pinned: The experiment's backend.
        policy: Whether the experiment continues after the backend was recalibrated.
    """

    def __init__(
        self,
        context: ExperimentContext,
        connection: Connection,
        pinned: PinnedBackend,
        policy: Literal["continue", "relearn", "stop"],
    ) -> None:
        self._context = context
        self._connection = connection
        self._pinned = pinned
        self._stops = policy == "stop"
        self._seen: str | None = None
        self._session_id: str | None = None
        self._asked_at: float | None = None

    def look(self, session_id: str | None) -> str | None:
        """Return when the backend was calibrated, as ISO 8601; ``None`` if it does not say.

        Args:
            session_id: The session that the next job runs in.

        Raises:
            BackendRecalibratedError: It was recalibrated, and the Block says to stop then.
            ConnectionFailedError: The platform does not answer.
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
                "Block says on_recalibration='stop'. Nothing was submitted. To continue anyway, "
                "set on_recalibration='continue'; to begin with the new calibration, start "
                f"a new experiment {self._context.identity.anew}.",
                experiment=self._context.uid,
            )


class PinnedBackend:
    """Chooses an experiment's backend once, when it is first needed.

    Args:
        context: The experiment.
        connection: The connection to its instance.
        plan: What the Block says about the backend.
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

        While the backend is in maintenance, this waits or takes another one, as the Block says. It
        does so only before a backend is pinned, because circuits are transpiled for the pinned one.

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
        """Return the choice of a backend by name, with the options from the Block."""
        # A calibration belongs to the backend that the Block names, not to any other.
        own = name == self._plan.backend_name
        return BackendChoice(
            name, self._plan.use_fractional_gates, self._plan.calibration_id if own else None
        )

    def pin(self, name: str, because: str) -> BackendChoice:
        """Pin a backend for the experiment unless one is pinned; return the pinned one."""
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
                "Block for the first instance, or start a new experiment "
                f"{self._context.identity.anew}.",
                experiment=self._context.uid,
            )
        return BackendChoice(chosen.name, chosen.use_fractional_gates, chosen.calibration_id)

    def _chosen(self) -> tuple[str, str]:
        """Return the name of the backend to use, and why it was chosen."""
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
        """Return the least busy backend that is up and meets the Block's wishes, or ``None``."""
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
