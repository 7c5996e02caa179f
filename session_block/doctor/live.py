"""Run one small job in a session on the real platform, and record what the platform does.

This package assumes what IBM has not published. The live check records the facts: states and their
order, fields, timings, what a close reports, how a job is refused that comes too late for its
session, and the idle time of a batch. Its job goes through an experiment like any other. What would
need a job that outlives its session is not checked, because it costs minutes of QPU time.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import requests
from qiskit import QuantumCircuit
from qiskit_ibm_runtime import RuntimeInvalidStateError
from qiskit_ibm_runtime.exceptions import IBMError

from session_block.client import BackendChoice, Connection, JobMetrics
from session_block.client.connection import Probe
from session_block.client.failures import refusal
from session_block.doctor.live_report import compared, report_of
from session_block.errors import SessionBlockError
from session_block.pubs.request import sampler_request
from session_block.tags import uid_tag

if TYPE_CHECKING:
    from session_block.blocks.quantum_session import QuantumSession
    from session_block.experiments.experiment import Experiment
    from session_block.references import JobRef

SHOTS = 100
MAX_TIME_SECONDS = 300
_FIRST_PAUSE_SECONDS = 0.1
_LONGEST_PAUSE_SECONDS = 5.0
_PAUSE_GROWTH = 1.1
_PATIENCE_SECONDS = 60.0
"""How long to wait for what should follow at once."""

_FINAL = frozenset({"completed", "failed", "cancelled"})
_logger = logging.getLogger(__name__)


class LiveCheck:
    """Runs the check, and records what it sees.

    Args:
        block: The Block to use, with its credentials, backend and ledger.
        say: Called with progress messages for people.
        timeout_seconds: How long to wait for the job.
    """

    def __init__(
        self, block: QuantumSession, say: Callable[[str], None], *, timeout_seconds: float
    ) -> None:
        self._name = f"doctor-{datetime.now(UTC):%Y%m%dT%H%M%S}"
        self._block = block
        self._say = say
        self._timeout_seconds = timeout_seconds
        self._began = time.monotonic()
        self._states: dict[str, list[dict[str, Any]]] = {"session": [], "job": []}
        self._fields: dict[str, set[str]] = {"session": set(), "job": set(), "metrics": set()}
        self._timings: dict[str, float] = {}
        self._found: dict[str, Any] = {}

    def run(self) -> dict[str, Any]:
        """Run the check, and return the report as JSON values; see :func:`report_of`.

        An error from the platform ends the check, and is in the report. The session is closed in
        any case.
        """
        error: str | None = None
        try:
            self._run()
        except SessionBlockError as trouble:
            error = str(trouble)
        return report_of(
            versions={
                name: version(name) for name in ("prefect-quantum-sessions", "qiskit-ibm-runtime")
            },
            experiment=self._name,
            found=self._found,
            states=self._states,
            fields={name: sorted(fields) for name, fields in self._fields.items()},
            timings={name: round(seconds, 3) for name, seconds in self._timings.items()},
            assumptions=compared(self._found, self._states),
            error=error,
        )

    def _run(self) -> None:
        self._say("Connecting …")
        account = self._block.credentials.account()
        connection = self._timed("connect", Connection(account).open)
        self._connection, self._probe = connection, Probe(connection)
        self._found |= {
            "url": account.url,
            "instance": connection.instance,
            "settle_seconds": account.settle_seconds,
            "asked_max_time": MAX_TIME_SECONDS,
        }
        experiment = self._experiment("session")
        try:
            self._use(experiment)
        except BaseException:
            _end(experiment)
            raise
        self._try_late(experiment)
        self._look_at_batch()
        experiment.seal({"live_check": self._found})

    def _experiment(self, mode: str) -> Experiment:
        changes = {"mode": mode, "max_time": MAX_TIME_SECONDS, "without_sessions": "fail"}
        name = self._name if mode == "session" else f"{self._name}-{mode}"
        return self._block.model_copy(update=changes).experiment(name)

    def _use(self, experiment: Experiment) -> None:
        circuit = experiment.transpile(_bell_pair())
        self._found["backend"] = experiment.backend_name
        self._say(f"Opening a session on {experiment.backend_name} …")
        session_id = str(self._timed("open_session", experiment.open_session))
        self._found["session_id"] = session_id
        self._look_at_session(session_id)
        self._say(f"Submitting one job of {SHOTS} shots to session {session_id} …")
        job = self._timed(
            "submit", lambda: experiment.submit_sampler([circuit], shots=SHOTS, label="live")
        )
        self._found["job_id"] = job.job_id
        self._found["listed_after_seconds"] = self._listed_after(experiment, job)
        self._follow(job, session_id)
        self._timed("fetch_result", lambda: experiment.fetch_result(job, self._timeout_seconds))
        self._look_at_metrics(job.job_id)
        self._say("Closing the session …")
        self._timed("close_session", experiment.close_session)
        self._found["state_after_close"] = self._look_at_session(session_id)["state"]
        self._until("closed", lambda: self._look_at_session(session_id)["state"] == "closed")
        self._until(
            "usage_known", lambda: self._look_at_metrics(job.job_id).usage_seconds is not None
        )
        details = self._look_at_session(session_id)
        self._found |= {
            "interactive_timeout": details.get("interactive_ttl"),
            "max_time": details.get("max_ttl"),
            "session_usage": details.get("elapsed_time"),
            "job_usage": self._look_at_metrics(job.job_id).usage_seconds,
            "transitions": details.get("timestamps"),
        }

    def _follow(self, job: JobRef, session_id: str) -> None:
        """Watch job and session until the job ends; the experiment reports a timeout, not this."""
        self._say(f"Waiting for job {job.job_id} …")
        deadline = time.monotonic() + self._timeout_seconds
        pause = _FIRST_PAUSE_SECONDS
        while time.monotonic() < deadline:
            status = str(self._look_at_job(job.job_id)["state"]["status"])
            state = self._look_at_session(session_id)["state"]
            if status.casefold() == "running":
                self._found.setdefault("session_state_while_running", state)
            if status.casefold() in _FINAL:
                return
            time.sleep(pause)
            pause = min(pause * _PAUSE_GROWTH, _LONGEST_PAUSE_SECONDS)

    def _listed_after(self, experiment: Experiment, job: JobRef) -> float | None:
        """Return how long the listing by tags takes to show the job; re-submission relies on it."""
        tag = uid_tag(experiment.uid)
        return self._until(
            "listed_by_tag",
            lambda: any(one.job_id == job.job_id for one in self._connection.jobs.named(tag)),
        )

    def _try_late(self, experiment: Experiment) -> None:
        """Send a job to the closed session; it is refused, so it costs nothing."""
        self._say("Sending a job to the closed session, which should refuse it …")
        choice = BackendChoice(str(experiment.backend_name))
        details = self._connection.sessions.look(str(experiment.session_id))
        session = self._connection.sessions.attach(details, choice)
        request = sampler_request([experiment.transpile(_bell_pair())], shots=1)
        try:
            job = request.send(session, [uid_tag(experiment.uid)])
        except (IBMError, requests.RequestException) as error:
            told = refusal(error)
            message = str(error) if told is None else told.message
            code = re.search(r'"code":\s*(\d+)', message)
            self._found["late_submission"] = {
                "refused": True,
                "cause": None if told is None else told.cause,
                "http_status": None if told is None else told.status,
                "code": int(code[1]) if code else None,
                "message": message,
            }
            return
        try:
            job.cancel()
        except (IBMError, requests.RequestException, RuntimeInvalidStateError) as error:
            _logger.warning("Job %s could not be cancelled: %s", job.job_id(), error)
        self._found["late_submission"] = {"refused": False, "job_id": job.job_id()}

    def _look_at_batch(self) -> None:
        """Open a batch, read its idle time, and cancel it before it has a job."""
        self._say("Opening a batch to read its idle time, and cancelling it …")
        batch = self._experiment("batch")
        try:
            details = self._probe.session(str(batch.open_session()))
            self._found["batch_interactive_timeout"] = details.get("interactive_ttl")
            self._found["batch_max_time"] = details.get("max_ttl")
        finally:
            _end(batch)

    def _look_at_session(self, session_id: str) -> dict[str, Any]:
        told = self._probe.session(session_id)
        self._see("session", told, str(told["state"]))
        return told

    def _look_at_job(self, job_id: str) -> dict[str, Any]:
        told = self._probe.job(job_id)
        self._see("job", told, str(told["state"]["status"]))
        return told

    def _look_at_metrics(self, job_id: str) -> JobMetrics:
        told = self._probe.metrics(job_id)
        self._fields["metrics"] |= set(told)
        metrics = JobMetrics.of(told)
        if metrics.duration is not None:
            self._timings |= {
                "queued_by_platform": metrics.duration.queued,
                "ran_by_platform": metrics.duration.ran,
            }
        return metrics

    def _see(self, what: str, told: dict[str, Any], state: str) -> None:
        self._fields[what] |= set(told)
        seen = self._states[what]
        if not seen or seen[-1]["state"] != state:
            seen.append({"state": state, "after_seconds": round(self._now(), 3)})

    def _until(self, what: str, condition: Callable[[], bool]) -> float | None:
        """Wait for what should follow soon; return how long it took, or ``None`` if it did not."""
        began = time.monotonic()
        pause = _FIRST_PAUSE_SECONDS
        while not condition():
            if time.monotonic() - began > _PATIENCE_SECONDS:
                return None
            time.sleep(pause)
            pause = min(pause * _PAUSE_GROWTH, _LONGEST_PAUSE_SECONDS)
        self._timings[what] = time.monotonic() - began
        return round(self._timings[what], 3)

    def _timed(self, what: str, call: Callable[[], Any]) -> Any:
        began = time.monotonic()
        answer = call()
        self._timings[what] = time.monotonic() - began
        return answer

    def _now(self) -> float:
        return time.monotonic() - self._began


def _end(experiment: Experiment) -> None:
    """Cancel the session; if that fails, only log it."""
    try:
        experiment.cancel_session()
    except SessionBlockError as error:
        _logger.warning("The session of %s may still be open: %s", experiment.identity, error)


def _bell_pair() -> QuantumCircuit:
    circuit = QuantumCircuit(2)
    circuit.h(0)
    circuit.cx(0, 1)
    circuit.measure_all()
    return circuit
