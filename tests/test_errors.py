"""Errors are data: they say of what they speak, survive pickling, and mean one thing each."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from pathlib import Path

import pytest
from qiskit import QuantumCircuit
from support import BACKEND

from session_block import (
    DurableSampler,
    Experiment,
    LocalPlatformCredentials,
    QuantumSession,
    SessionBlockError,
    errors,
    local_platform,
)
from session_block.client.failures import code_in
from session_block.errors import (
    JobFailedError,
    JobNotFoundError,
    JobWaitTimeoutError,
    LabelConflictError,
    SubmissionRejectedError,
)
from session_block.local_platform import LocalPlatform

NAMED = {
    "experiment": "82e94c5ea36f4e09",
    "submission": "77c791163cb2970d5808713c",
    "session_id": "s",
    "job_id": "j",
    "code": 1217,
}


def _all(error: type[SessionBlockError] = SessionBlockError) -> Iterator[type[SessionBlockError]]:
    yield error
    for below in error.__subclasses__():
        yield from _all(below)


def _x() -> QuantumCircuit:
    circuit = QuantumCircuit(1)
    circuit.x(0)
    circuit.measure_all()
    return circuit


@pytest.mark.parametrize("error", sorted(set(_all()), key=lambda one: one.__name__))
def test_an_error_survives_pickling_with_its_data(error: type[SessionBlockError]) -> None:
    """P11: Dask, Ray and Prefect's own states send them from process to process."""
    raised = error("what happened", **NAMED)
    again = pickle.loads(pickle.dumps(raised))  # noqa: S301 - our own
    assert type(again) is error
    assert str(again) == "what happened"
    assert {name: getattr(again, name) for name in NAMED} == NAMED


def test_every_error_is_in_the_tree() -> None:
    """The tree that claims to hold all holds also the local platform's."""
    defined = {one for one in vars(errors).values() if isinstance(one, type)}
    assert defined == set(_all())
    assert issubclass(local_platform.PlatformError, SessionBlockError)
    tree = errors.__doc__ or ""
    assert [one.__name__ for one in defined if one.__name__ not in tree] == []


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ('HTTP 400: {"errors":[{"code":1352,"message":"no sessions"}]}', 1352),
        ('{"code": 1217}', 1217),
        ("Error code 9707; Internal error.", 9707),
        ("HTTP 502: Bad Gateway", None),
    ],
)
def test_the_platforms_code_is_read(said: str, code: int | None) -> None:
    """From an answer as from a failed job's reason."""
    assert code_in(said) == code


@pytest.fixture
def own(tmp_path: Path) -> Iterator[LocalPlatform]:
    """A platform whose faults are this test's alone."""
    with LocalPlatform(tmp_path / "platform", job_seconds=0.5) as platform:
        yield platform


@pytest.fixture
def experiment(own: LocalPlatform, ledger_url: str) -> Iterator[Experiment]:
    """An experiment on it, with an open session."""
    block = QuantumSession(
        credentials=LocalPlatformCredentials(state_dir=own.info.state_dir),
        backend_name=BACKEND,
        ledger_url=ledger_url,
    )
    opened = block.experiment("e")
    opened.open_session()
    yield opened
    opened.cancel_session()


def test_a_failed_job_is_named(own: LocalPlatform, experiment: Experiment) -> None:
    """P11: experiment, submission, session, job, and the platform's code."""
    own.add_fault(kind="end_job", state="failed", reason="it broke", reason_code=1505)
    job = experiment.submit_sampler([_x()], shots=8)
    with pytest.raises(JobFailedError, match="1505") as raised:
        experiment.fetch_result(job)
    error = raised.value
    assert (error.experiment, error.submission) == (experiment.uid, job.submission)
    assert (error.session_id, error.job_id) == (experiment.session_id, job.job_id)
    assert error.code == 1505


def test_a_refusal_is_named(own: LocalPlatform, experiment: Experiment) -> None:
    """No job was made, so it names none."""
    own.add_fault(kind="status", status=400, code=1234, method="POST", path="/jobs")
    with pytest.raises(SubmissionRejectedError) as raised:
        experiment.submit_sampler([_x()], shots=8)
    error = raised.value
    assert (error.experiment, error.job_id, error.code) == (experiment.uid, None, 1234)
    assert error.submission is not None


def test_a_wait_that_is_over_is_named(experiment: Experiment) -> None:
    """The job goes on, and whoever caught the error knows which."""
    job = experiment.submit_sampler([_x()], shots=8)
    with pytest.raises(JobWaitTimeoutError) as raised:
        experiment.fetch_result(job, timeout_seconds=0.01)
    assert (raised.value.job_id, raised.value.experiment) == (job.job_id, experiment.uid)
    assert experiment.fetch_result(job)


def test_a_job_that_is_gone_is_no_lost_connection(
    own: LocalPlatform, experiment: Experiment, ledger_url: str
) -> None:
    """To cancel it is impossible, for another reason than that nobody answers."""
    job = DurableSampler(experiment).run([_x()], shots=8)
    experiment.service.delete_job(job.job_id())
    block = QuantumSession(
        credentials=LocalPlatformCredentials(state_dir=own.info.state_dir),
        backend_name=BACKEND,
        ledger_url=ledger_url,
    )
    again = DurableSampler(block.experiment("e")).run([_x()], shots=8)
    with pytest.raises(JobNotFoundError) as raised:
        again.cancel()
    assert raised.value.job_id == again.job_id() == job.job_id()
    assert raised.value.experiment == experiment.uid


def test_a_label_that_stands_for_another_request_names_its_experiment(
    experiment: Experiment,
) -> None:
    """Before anything is sent."""
    experiment.run_sampler([_x()], shots=8, label="day 1")
    with pytest.raises(LabelConflictError) as raised:
        experiment.run_sampler([_x()], shots=9, label="day 1")
    assert raised.value.experiment == experiment.uid
