"""Runs a job's circuits in a worker process, with the platform's settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from session_block.local_platform.execution.seeding import repetition
from session_block.local_platform.workloads.job_records import Outcome

if TYPE_CHECKING:
    import threading

    from session_block.local_platform.config.state import Settings
    from session_block.local_platform.devices.backends import Backends
    from session_block.local_platform.execution.worker_pool import WorkerPool
    from session_block.local_platform.workloads.job_records import ClaimedJob


class Simulation:
    """Runs jobs on worker processes. A mock has neither noise nor QPU time."""

    def __init__(self, pool: WorkerPool, backends: Backends, settings: Settings) -> None:
        self._pool = pool
        self._backends = backends
        self._settings = settings

    def run(self, job: ClaimedJob, abandoned: threading.Event) -> Outcome | None:
        """Run a job and return its outcome, or None if ``abandoned`` was set meanwhile."""
        device = self._backends.find(job.backend)
        request = {
            "program": job.program,
            "backend": device.name,
            "recording": device.recording,
            "params": job.params,
            "noise": "exact" if device.is_mock else self._settings.noise,
            "seed": self._settings.seed,
            "repetition": repetition(job.tags),
            "circuit_time": self._settings.circuit_time and not device.is_mock,
            "calibration": self._backends.calibration(device.name, job.calibration_id).number,
            "charged": self._settings.charges == "ibm" and not device.is_mock,
            "refuses": self._refuses(job.program) and not device.is_mock,
            "limit": job.limit,
        }
        answer = self._pool.run(request, abandoned)
        if answer is None:
            return None
        if "error" in answer:
            return Outcome(
                answer.get("state", "failed"),
                # A cancelled job has no result (real).
                result=answer["trace"] if answer.get("state", "failed") == "failed" else None,
                reason=answer["error"],
                reason_code=answer.get("code"),
                reason_solution=answer.get("solution"),
                charged_seconds=0 if answer.get("is_free") else None,
            )
        return Outcome(
            "completed",
            answer["result"],
            qpu_seconds=answer["qpu_seconds"],
            charged_seconds=answer["charged_seconds"],
        )

    def _refuses(self, program: str) -> bool:
        return program != "executor" or self._settings.executor_failures == "as_v2"

    def job_seconds(self, backend: str) -> float:
        """Return a job's fixed QPU time in seconds, without the time of its circuits."""
        return 0.0 if self._backends.find(backend).is_mock else self._settings.job_seconds
