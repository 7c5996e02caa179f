"""Which sessions an experiment is to have, as its Block says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from session_block.references import ExecutionMode

MAX_SESSIONS = 20
"""How many sessions one experiment opens before it stops and asks, unless the Block says more."""


@dataclass(frozen=True)
class SessionPlan:
    """Where an experiment's jobs run, and what becomes of it when that place ends.

    Attributes:
        backend_name: The backend; ``None`` for the least busy one.
        min_num_qubits: How many qubits it needs at least, where it may be chosen.
        use_fractional_gates: Whether circuits may use its fractional gates; ``None`` for all its
            instructions.
        calibration_id: Which of its calibrations is used; ``None`` for the newest.
        in_maintenance: What happens if the backend is down before the first job: ``wait``, or
            ``move`` to another one.
        on_recalibration: Whether the experiment goes on after the backend was calibrated anew.
        mode: The execution mode.
        max_time_seconds: Longest time of a session; ``None`` for the platform's own.
        without_sessions: What becomes of mode ``session`` where the plan allows none.
        on_expiry: Whether a session that ended is replaced; ``None`` for the experiment's own, not
            for a borrowed one.
        min_time_left_seconds: A session with less time left is replaced before a submission.
        max_sessions: How many sessions the experiment opens at most.
    """

    backend_name: str | None
    min_num_qubits: int | None = None
    use_fractional_gates: bool | None = False
    calibration_id: str | None = None
    in_maintenance: Literal["wait", "move"] = "wait"
    on_recalibration: Literal["continue", "stop"] = "continue"
    mode: ExecutionMode = "session"
    max_time_seconds: int | None = None
    without_sessions: Literal["fail", "batch", "job"] = "fail"
    on_expiry: Literal["reopen", "fail"] | None = None
    min_time_left_seconds: int = 0
    max_sessions: int = MAX_SESSIONS

    def reopens(self, *, borrowed: bool) -> bool:
        """Whether a session that ended is replaced by a new one."""
        return self.on_expiry == "reopen" or (self.on_expiry is None and not borrowed)
