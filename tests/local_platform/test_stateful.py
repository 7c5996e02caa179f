"""Whatever is done to sessions in whatever order, the platform does what the model says."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from session_block.local_platform import LocalPlatform

from .session_model import Model, ModelJob, ModelSession
from .support import raw_client

pytestmark = pytest.mark.rest

if TYPE_CHECKING:
    import httpx

JOB_SECONDS = 7
JOB = {"program_id": "sampler", "params": {"pubs": []}}
BACKENDS = ("ibm_manila", "ibm_nairobi", "ibm_hanoi")


class Machine(RuleBasedStateMachine):
    """One backend of a platform whose clock moves only when it is advanced."""

    platform: LocalPlatform
    api: httpx.Client

    sessions = Bundle("sessions")
    jobs = Bundle("jobs")

    @initialize(backend=st.sampled_from(BACKENDS))
    def begin(self, backend: str) -> None:
        """Begin on a backend that nothing occupies, with a model that knows of nothing."""
        self.platform.advance(30_000)
        self.backend = backend
        self.model = Model(JOB_SECONDS)
        self.origin = self.platform.now()
        self.known: list[tuple[str, ModelSession]] = []
        self.submitted: list[tuple[str, ModelJob]] = []

    @rule(
        target=sessions,
        mode=st.sampled_from(["dedicated", "dedicated", "batch"]),
        max_ttl=st.sampled_from([5, 7, 20, 60, 28_800]),
        interactive_ttl=st.sampled_from([1, 5, 7, 60]),
    )
    def open(self, mode: str, max_ttl: int, interactive_ttl: int) -> Any:
        """Open a session or a batch."""
        interactive_ttl = min(interactive_ttl, max_ttl)
        body = {
            "mode": mode,
            "backend": self.backend,
            "max_ttl": max_ttl,
            "interactive_ttl": interactive_ttl,
        }
        session_id = self.api.post("/sessions", json=body).json()["id"]
        session = (session_id, self.model.open(mode, max_ttl, interactive_ttl))
        self.known.append(session)
        return session

    @rule(target=jobs, session=sessions)
    def submit(self, session: tuple[str, ModelSession]) -> Any:
        """Submit a job to a session, which may refuse it."""
        return self._submit({"session_id": session[0]}, session[1])

    @rule(target=jobs)
    def submit_outside(self) -> Any:
        """Submit a job outside of sessions."""
        return self._submit({}, None)

    @rule(seconds=st.sampled_from([1, 1, 3, 7, 20, 60, 2000, 30_000]))
    def advance(self, seconds: int) -> None:
        """Let time go by."""
        self.platform.advance(seconds)
        self.model.pass_seconds(seconds)

    @rule(job=jobs)
    def cancel_job(self, job: tuple[str, ModelJob]) -> None:
        """Cancel a job that may have ended."""
        done = self.model.cancel_job(job[1])
        answer = self.api.post(f"/jobs/{job[0]}/cancel")
        assert answer.status_code == (204 if done else 409)
        self._settle()

    @rule(session=sessions)
    def close(self, session: tuple[str, ModelSession]) -> None:
        """Close a session that may be closed."""
        self.model.stop_accepting(session[1], cancel=False)
        body = {"accepting_jobs": False}
        assert self.api.patch(f"/sessions/{session[0]}", json=body).status_code == 204
        self._settle()

    @rule(session=sessions)
    def cancel(self, session: tuple[str, ModelSession]) -> None:
        """Cancel a session that may be closed."""
        self.model.stop_accepting(session[1], cancel=True)
        assert self.api.delete(f"/sessions/{session[0]}/close").status_code == 204
        self._settle()

    @rule(session=sessions)
    def accept_again(self, session: tuple[str, ModelSession]) -> None:
        """Let a session accept jobs again, closed or not."""
        self.model.accept_again(session[1])
        body = {"accepting_jobs": True}
        assert self.api.patch(f"/sessions/{session[0]}", json=body).status_code == 204
        self._settle()

    @invariant()
    def sessions_agree(self) -> None:
        """Every session is in the state, with reason, history and usage, that the model says."""
        for session_id, model in getattr(self, "known", ()):
            seen = self.api.get(f"/sessions/{session_id}").json()
            assert (seen["state"], seen["state_reason"]) == (model.state, model.reason)
            assert seen["accepting_jobs"] == model.accepting
            assert seen["elapsed_time"] == pytest.approx(model.used, abs=1e-3)
            history = [(item["status"], self._since(item)) for item in seen["timestamps"]]
            assert history == model.history

    @invariant()
    def jobs_agree(self) -> None:
        """Every job is in the state that the model says."""
        for job_id, model in getattr(self, "submitted", ()):
            state = self.api.get(f"/jobs/{job_id}").json()["state"]
            assert (state["status"], state.get("reason_code")) == (model.state, model.code)

    def teardown(self) -> None:
        """Leave nothing behind that occupies a backend."""
        for job_id, _ in getattr(self, "submitted", ()):
            self.api.post(f"/jobs/{job_id}/cancel")

    def _submit(self, where: dict[str, str], session: ModelSession | None) -> Any:
        job = self.model.submit(session)
        answer = self.api.post("/jobs", json={**JOB, **where, "backend": self.backend})
        if job is None:
            assert answer.status_code == 400
            assert '"code":1217' in answer.text
            return multiple()
        self.submitted.append((answer.json()["id"], job))
        self._settle()
        return self.submitted[-1]

    def _settle(self) -> None:
        """Let the platform do what is due in this very second."""
        self.platform.advance(0)

    def _since(self, item: dict[str, str]) -> int:
        moment = datetime.fromisoformat(item["timestamp"]).timestamp()
        return round(moment - self.origin)


def test_sessions_live_as_the_model_says() -> None:
    """No sequence of requests and of time tells platform and model apart."""
    with (
        LocalPlatform(time_scale=0, charges="simulated", job_seconds=JOB_SECONDS) as platform,
        raw_client(platform.info) as api,
    ):
        Machine.platform, Machine.api = platform, api
        run_state_machine_as_test(  # type: ignore[no-untyped-call]
            Machine,
            settings=settings(
                max_examples=30,
                stateful_step_count=30,
                deadline=None,
                derandomize=True,
                suppress_health_check=list(HealthCheck),
            ),
        )
