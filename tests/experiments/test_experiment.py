"""The experiment: every request its one job, whatever happened before."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qiskit import QuantumCircuit, transpile
from qiskit.circuit.library import real_amplitudes
from qiskit.quantum_info import SparsePauliOp
from qiskit_ibm_runtime.fake_provider import FakeManilaV2
from session_support import block_for, measured
from support import Platform, attached, wait_until

from session_block import DurableSampler, JobRef, QuantumSession
from session_block.client import Connection
from session_block.errors import (
    ConnectionFailedError,
    ExperimentDivergedError,
    ExperimentSealedError,
    InvalidInputError,
    JobCancelledError,
    JobEndedInPassingError,
    JobWaitTimeoutError,
    LabelConflictError,
    LabelRequiredError,
    NotISAError,
    SubmissionHeldError,
)
from session_block.experiments.experiment import Experiment
from session_block.ledger.store import REAL
from session_block.local_platform import LocalPlatform
from session_block.pubs.fingerprint import submission_id
from session_block.pubs.request import sampler_request
from session_block.records.journal import Journal
from session_block.records.keys import Intent, Outcome
from session_block.records.sender import sending

_TARGET = FakeManilaV2()


def _bell(angle: float = 0.0) -> QuantumCircuit:
    """Return an ISA circuit; each angle makes another request."""
    circuit = QuantumCircuit(2)
    circuit.h(0)
    circuit.cx(0, 1)
    circuit.rz(angle, 0)
    circuit.measure_all()
    return transpile(circuit, _TARGET, optimization_level=0)


def _behind_others(experiment: Experiment) -> JobRef:
    """Submit a job that stays queued for a while, on the slow platform."""
    for angle in range(1, 4):
        experiment.submit_sampler([_bell(angle)], shots=8)
    return experiment.submit_sampler([_bell()], shots=8)


@pytest.fixture
def connection(platform: Platform) -> Connection:
    """A connection beside the experiment's own."""
    return Connection(platform.credentials().account())


def _counts(experiment: Experiment, **arguments: Any) -> dict[str, int]:
    result = experiment.run_sampler([_bell()], shots=64, **arguments)
    return dict(result[0].data.meas.get_counts())


def test_a_request_is_answered_from_the_ledger_afterwards(
    block: QuantumSession, platform: Platform
) -> None:
    """P7: a resumed run replays a finished request without any request to the platform."""
    first = block.experiment("e")
    counts = _counts(first)
    before = platform.stats()["requests"]
    assert _counts(block.experiment("e")) == counts
    after = platform.stats()["requests"]
    changed = {path for path in after if after[path] != before.get(path, 0)}
    assert changed <= {"GET /_local/stats"}
    assert platform.jobs_of(first.uid) == 1
    first.close_session()


def test_equal_requests_are_as_many_jobs(block: QuantumSession, platform: Platform) -> None:
    """Three equal requests are three jobs, and a resumed run gets the same three."""
    first = block.experiment("e")
    ids = [first.submit_sampler([_bell()], shots=64).job_id for _ in range(3)]
    again = block.experiment("e")
    assert [again.submit_sampler([_bell()], shots=64).job_id for _ in range(3)] == ids
    assert len(set(ids)) == 3
    assert platform.jobs_of(first.uid) == 3
    first.cancel_session()


def test_threads_submit_each_request_once(block: QuantumSession, platform: Platform) -> None:
    """Concurrent requests of one experiment neither merge nor double, and all resume."""
    first = block.experiment("e")
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda n: first.run_sampler([_bell(n % 4)], shots=8), range(12)))
    again = block.experiment("e")
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda n: again.run_sampler([_bell(n % 4)], shots=8), range(12)))
    assert platform.jobs_of(first.uid) == 12
    first.close_session()


def test_an_accepted_job_without_a_record_is_found_by_its_tag(
    block: QuantumSession, platform: Platform, connection: Connection
) -> None:
    """P2: killed between the platform's acceptance and the record, the job is adopted."""
    first = block.experiment("e")
    job_id = _cut_off(block, first, connection, send=1)[0]
    reference = block.experiment("e").submit_sampler([_bell()], shots=8)
    assert (reference.job_id, reference.generation) == (job_id, 1)
    assert platform.jobs_of_submission(first.uid, reference.submission) == 1
    first.cancel_session()


def test_a_request_that_never_left_is_sent(
    block: QuantumSession, platform: Platform, connection: Connection
) -> None:
    """Killed between the intent and the POST, the next generation makes the one job."""
    first = block.experiment("e")
    _cut_off(block, first, connection, send=0)
    reference = block.experiment("e").submit_sampler([_bell()], shots=8)
    assert reference.generation == 2
    assert platform.jobs_of_submission(first.uid, reference.submission) == 1
    first.cancel_session()


def test_a_twin_is_cancelled_and_the_earliest_job_stands(
    slow_block: QuantumSession, slow_platform: Platform, caplog: pytest.LogCaptureFixture
) -> None:
    """P1: where the client made two jobs of one submission, one stands and one is cancelled."""
    block = slow_block
    connection = Connection(slow_platform.credentials().account())
    first = block.experiment("e")
    _behind_others(first)
    sent = _cut_off(block, first, connection, send=2, angle=8.0)
    with caplog.at_level(logging.WARNING):
        reference = block.experiment("e").submit_sampler([_bell(8.0)], shots=8)
    assert reference.job_id == sent[0]
    assert f"Job {sent[1]} is a twin" in caplog.text
    twins = {fact.key: fact.body["fate"] for fact in block.ledger().facts(first.uid, "twin/")}
    assert twins == {f"twin/{reference.submission}/{sent[1]}": "cancelled"}
    twin = connection.jobs.get(sent[1])
    assert twin is not None
    assert twin.status() == "CANCELLED"
    first.cancel_session()


def _cut_off(
    block: QuantumSession,
    experiment: Experiment,
    connection: Connection,
    *,
    send: int,
    angle: float = 0.0,
) -> list[str]:
    """Leave behind what a process does that is killed in the middle of a submission."""
    reference = experiment.submit_sampler([_bell(9.0)], shots=8)
    journal = Journal(block.ledger(), experiment.uid)
    intent = journal.get(Intent, reference.submission, 1)
    assert intent is not None
    request = sampler_request([_bell(angle)], shots=8)
    submission = submission_id(request.fingerprint, 1)
    tag = f"qs-sub:{experiment.uid}.{submission}.1"
    with sending(REAL) as gone:
        left = replace(intent, submission=submission, fingerprint=request.fingerprint, tag=tag)
    journal.record(replace(left, sender=gone, concurrent=True))
    session = attached(connection, str(intent.session_id))
    tags = [*experiment.identity.tags, tag]
    return [request.send(session, tags).job_id() for _ in range(send)]


def test_a_finished_experiment_only_answers(block: QuantumSession, platform: Platform) -> None:
    """Sealed: its report comes back, recorded requests replay, a new one is an error."""
    with block.experiment("e") as first:
        counts = _counts(first)
        first.seal({"energy": -1.5})
    sessions = platform.sessions()
    with block.experiment("e") as again:
        assert again.sealed
        assert again.report() == {"energy": -1.5}
        assert _counts(again) == counts
        with pytest.raises(ExperimentSealedError, match="fresh=True"):
            again.run_sampler([_bell(1.0)])
    with block.experiment("e", fresh=True) as new:
        assert not new.sealed
    assert platform.jobs_of(first.uid) == 1
    assert platform.sessions() == sessions


def test_success_closes_and_an_error_keeps_the_session(
    block: QuantumSession, connection: Connection
) -> None:
    """P5: leaving by an exception, also by Ctrl-C, keeps the session; success closes it."""
    for error in (ValueError, KeyboardInterrupt):
        with pytest.raises(error):
            _leave_by(error, experiment := block.experiment("e"))
    session = attached(connection, str(experiment.session_id))
    assert session.status() == "Pending"
    with block.experiment("e") as again:
        assert again.open_session() == session.session_id
    assert session.status() == "Closed"


def _leave_by(error: type[BaseException], experiment: Experiment) -> None:
    with experiment:
        experiment.open_session()
        raise error


def test_a_resumed_run_that_asks_for_something_else_is_stopped(
    block: QuantumSession, platform: Platform
) -> None:
    """P8: asking for something new before all that was recorded has diverged; nothing is sent."""
    first = block.experiment("e")
    for angle in (0.1, 0.2):
        first.run_sampler([_bell(angle)], shots=8)
    again = block.experiment("e")
    again.run_sampler([_bell(0.1)], shots=8)
    with pytest.raises(ExperimentDivergedError, match="1 requests"):
        again.run_sampler([_bell(0.3)], shots=8)
    again.run_sampler([_bell(0.2)], shots=8)
    again.run_sampler([_bell(0.3)], shots=8)
    assert platform.jobs_of(first.uid) == 3
    first.close_session()


def test_random_draws_are_drawn_once(block: QuantumSession) -> None:
    """``once`` gives a resumed run what the first one drew, bit for bit."""
    rng = np.random.default_rng()
    first = block.experiment("e").once("x0", lambda: rng.uniform(size=5))
    assert block.experiment("e").once("x0", lambda: rng.uniform(size=5)) == first
    assert block.experiment("e", fresh=True).once("x0", lambda: rng.uniform(size=5)) != first
    assert block.experiment("e").once("nothing", lambda: None) is None
    with pytest.raises(InvalidInputError, match="not a JSON value"):
        block.experiment("e").once("bad", object)
    with pytest.raises(InvalidInputError, match="not a JSON value"):
        block.experiment("e").once("nan", lambda: float("nan"))


def test_a_transpiled_circuit_is_pinned(block: QuantumSession, platform: Platform) -> None:
    """A resumed run gets the very same circuit with its layout, and needs no backend for it."""
    ansatz = real_amplitudes(3, reps=1)
    first = block.experiment("e").transpile(ansatz, optimization_level=3)
    before = platform.stats()["requests"]
    again = block.experiment("e").transpile(ansatz, optimization_level=3)
    assert platform.stats()["requests"].keys() == before.keys()
    assert again == first
    observable = SparsePauliOp("XYZ")
    assert observable.apply_layout(again.layout) == observable.apply_layout(first.layout)
    assert block.experiment("e").transpile(ansatz, optimization_level=0) != first


def test_a_label_stands_for_one_request(block: QuantumSession, platform: Platform) -> None:
    """A label finds its job whatever the order; for another request it is an error."""
    first = block.experiment("e")
    job = first.submit_sampler([_bell()], shots=8, label="calibration")
    again = block.experiment("e")
    assert again.submit_sampler([_bell()], shots=8, label="calibration").job_id == job.job_id
    with pytest.raises(LabelConflictError, match="'calibration'"):
        again.submit_sampler([_bell()], shots=9, label="calibration")
    assert platform.jobs_of(first.uid) == 1
    first.cancel_session()


def test_another_process_needs_labels(block: QuantumSession, platform: Platform) -> None:
    """Only the opener can count equal requests; a label does without counting."""
    opened = block.experiment("e")
    opened.open_session()
    joined = block.attach(opened.session_ref)
    with pytest.raises(LabelRequiredError, match="label="):
        joined.submit_sampler([_bell()], shots=8)
    reference = joined.submit_sampler([_bell()], shots=8, label="from-elsewhere")
    assert opened.fetch_result(reference)[0].data.meas.num_shots == 8
    assert platform.jobs_of(opened.uid) == 1
    child = os.fork()
    if child == 0:
        try:
            opened.submit_sampler([_bell()], shots=8)
        except LabelRequiredError:
            os._exit(7)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    opened.close_session()


def test_another_process_joins_in_job_mode_too(block: QuantumSession, platform: Platform) -> None:
    """There is no session then. An experiment that nobody began in this ledger is refused."""
    jobs = block.model_copy(update={"mode": "job"})
    opened = jobs.experiment("e")
    opened.open_session()
    joined = jobs.attach(opened.session_ref)
    reference = joined.submit_sampler([_bell()], shots=8, label="from-elsewhere")
    assert opened.fetch_result(reference)[0].data.meas.num_shots == 8
    assert platform.jobs_of(opened.uid) == 1
    nowhere = opened.session_ref.model_copy(update={"uid": "0" * 32})
    with pytest.raises(InvalidInputError, match="This ledger does not know"):
        jobs.attach(nowhere)


def test_a_circuit_that_does_not_fit_makes_no_job_and_no_session(
    block: QuantumSession, platform: Platform
) -> None:
    """A not-ISA circuit is refused before a session is opened; nothing is recorded."""
    sessions = platform.sessions()
    circuit = QuantumCircuit(2)
    circuit.h(0)
    circuit.measure_all()
    experiment = block.experiment("e")
    with pytest.raises(NotISAError, match="instruction h"):
        experiment.run_sampler([circuit])
    assert platform.sessions() == sessions
    kept = [fact.key for fact in block.ledger().facts(experiment.uid)]
    assert kept == ["experiment", "attempt/000001", "backend"]


def test_an_experiment_stays_on_its_backend(block: QuantumSession) -> None:
    """Opened by a Block of another backend it is an error, before any network call."""
    block.experiment("e")
    other = block.model_copy(update={"backend_name": "ibm_nairobi"})
    with pytest.raises(InvalidInputError, match=r"began on ibm_manila.*ibm_nairobi"):
        other.experiment("e")
    assert other.experiment("e", fresh=True).identity.number == 2


def test_a_wait_that_runs_out_leaves_the_job(
    slow_block: QuantumSession, slow_platform: Platform
) -> None:
    """A timeout ends the wait and not the job; the same job is fetched later."""
    experiment = slow_block.experiment("e")
    reference = _behind_others(experiment)
    with pytest.raises(JobWaitTimeoutError, match="goes on"):
        experiment.fetch_result(reference, timeout_seconds=0)
    assert experiment.fetch_result(reference)[0].data.meas.num_shots == 8
    assert slow_platform.jobs_of_submission(experiment.uid, reference.submission) == 1
    experiment.close_session()


def test_a_job_cancelled_by_its_user_is_not_run_again(
    slow_block: QuantumSession, slow_platform: Platform
) -> None:
    """A cancelled job is said to be cancelled; nobody resubmits what somebody stopped."""
    beside = Connection(slow_platform.credentials().account())
    experiment = slow_block.experiment("e")
    reference = _behind_others(experiment)
    job = beside.jobs.get(reference.job_id)
    assert job is not None
    job.cancel()
    with pytest.raises(JobCancelledError, match=reference.job_id):
        experiment.fetch_result(reference)
    with pytest.raises(JobCancelledError):
        slow_block.experiment("e").run_sampler([_bell()], shots=8)
    assert slow_platform.jobs_of_submission(experiment.uid, reference.submission) == 1
    experiment.cancel_session()


def test_a_job_that_died_with_its_session_runs_in_the_next(
    slow_block: QuantumSession, slow_platform: Platform
) -> None:
    """P4: when the session ends under a queued job, the job runs in its replacement."""
    beside = Connection(slow_platform.credentials().account())
    experiment = slow_block.experiment("e")
    running = experiment.submit_sampler([_bell(0.1)], shots=8)
    queued = _behind_others(experiment)
    job = beside.jobs.get(running.job_id)
    assert job is not None
    wait_until(lambda: job.status() != "QUEUED", seconds=30, what="the first job runs")
    first = str(experiment.session_id)
    slow_platform.admin.end_session(first, "max_time")
    with pytest.raises(JobEndedInPassingError, match="Ask for it again"):
        experiment.fetch_result(queued)
    assert experiment.fetch_result(running)[0].data.meas.num_shots == 8
    again = slow_block.experiment("e")
    for angle in (0.1, 0.0):
        assert again.run_sampler([_bell(angle)], shots=8)[0].data.meas.num_shots == 8
    assert again.session_id != first
    assert slow_platform.jobs_of_submission(experiment.uid, running.submission) == 1
    assert slow_platform.jobs_of_submission(experiment.uid, queued.submission) == 2
    again.close_session()


def test_asking_again_for_a_job_that_died_with_its_session_is_the_same_request(
    slow_block: QuantumSession, slow_platform: Platform
) -> None:
    """The advice of the error is good: ask again, in this run, and it is one submission."""
    experiment = slow_block.experiment("e")
    queued = _behind_others(experiment)
    slow_platform.admin.end_session(str(experiment.session_id), "max_time")
    with pytest.raises(JobEndedInPassingError):
        experiment.fetch_result(queued)
    again = experiment.submit_sampler([_bell()], shots=8)
    assert (again.submission, again.generation) == (queued.submission, 2)
    assert experiment.fetch_result(again)[0].data.meas.num_shots == 8
    experiment.cancel_session()


def test_what_its_user_cancelled_is_not_run_again(
    slow_block: QuantumSession, slow_platform: Platform
) -> None:
    """Jobs that ``cancel_session`` cancelled stay cancelled, and no session is opened for them."""
    experiment = slow_block.experiment("e")
    queued = _behind_others(experiment)
    sessions = slow_platform.sessions()
    assert experiment.cancel_session() is True
    with pytest.raises(JobCancelledError):
        experiment.fetch_result(queued)
    with pytest.raises(JobCancelledError):
        slow_block.experiment("e").fetch_result(queued)
    assert slow_platform.sessions() == sessions
    assert slow_platform.jobs_of_submission(experiment.uid, queued.submission) == 1


def test_a_sealed_experiment_submits_nothing_that_lacks_its_result(
    slow_block: QuantumSession, slow_platform: Platform
) -> None:
    """Sealed without a result, a submission that died with its session stays so."""
    experiment = slow_block.experiment("e")
    queued = _behind_others(experiment)
    slow_platform.admin.end_session(str(experiment.session_id), "max_time")
    with pytest.raises(JobEndedInPassingError):
        experiment.fetch_result(queued)
    experiment.seal()
    sessions = slow_platform.sessions()
    with pytest.raises(ExperimentSealedError, match="no result"):
        slow_block.experiment("e").run_sampler([_bell()], shots=8, label=None)
    assert slow_platform.sessions() == sessions
    assert slow_platform.jobs_of_submission(experiment.uid, queued.submission) == 1


def test_a_request_that_the_client_refuses_can_be_corrected(
    block: QuantumSession, platform: Platform
) -> None:
    """What the client cannot encode costs no session, and its correction is no divergence."""
    dynamic = QuantumCircuit(1, 1)
    dynamic.measure(0, 0)
    with dynamic.if_test((dynamic.cregs[0], 1)):
        dynamic.x(0)
    options = {"twirling": {"enable_gates": True}}
    isa = transpile(dynamic, _TARGET, optimization_level=0)
    first = block.experiment("e")
    sessions = platform.sessions()
    with pytest.raises(InvalidInputError, match="The client cannot make a job of this request"):
        first.run_sampler([isa], shots=8, options=options, implementation="executor")
    assert platform.sessions() == sessions
    again = block.experiment("e")
    assert again.run_sampler([_bell()], shots=8)[0].data.meas.num_shots == 8
    assert platform.jobs_of(first.uid) == 1
    again.close_session()


def test_what_the_client_draws_is_sent_again_as_it_was(
    slow_block: QuantumSession, slow_platform: Platform
) -> None:
    """A job that its session's end took is the same program, to the bit, in the next session."""
    zne = {"noise_factors": [1, 1.4, 2.3], "amplifier": "gate_folding"}
    asked: dict[str, Any] = {
        "options": {"resilience_level": 0, "resilience": {"zne_mitigation": True, "zne": zne}},
        "precision": 0.1,
        "implementation": "executor",
    }
    circuit = QuantumCircuit(2)
    for _ in range(16):
        circuit.cx(0, 1)
        circuit.rx(0.3, 0)
    pub = (transpile(circuit, _TARGET, optimization_level=0), "IIIZZ")
    sent = []
    for name in ("one", "other"):
        experiment = slow_block.experiment(name)
        _behind_others(experiment)
        job = experiment.submit_estimator([pub], **asked)
        slow_platform.admin.end_session(str(experiment.session_id), "max_time")
        with pytest.raises(JobEndedInPassingError):
            experiment.fetch_result(job)
        again = slow_block.experiment(name)
        _behind_others(again)
        again.run_estimator([pub], **asked)
        connection = Connection(slow_platform.credentials().account())
        at_platform = connection.service._get_api_client(connection.instance)._session
        outcomes = slow_block.ledger().facts(again.uid, f"outcome/{job.submission}/")
        ids = [one.body["job_id"] for one in outcomes]
        sent.append([at_platform.get(f"/jobs/{one}").json()["params"] for one in ids])
        again.close_session()
    (first, second), (others, its_second) = sent
    assert (first, others) == (second, its_second)
    assert first != others


def test_threads_may_resume_in_any_order(block: QuantumSession, platform: Platform) -> None:
    """A run that was killed after one thread's request may begin with the other thread's."""
    first = block.experiment("e")
    with ThreadPoolExecutor(1) as pool:
        pool.submit(first.run_sampler, [_bell(0.1)], shots=8).result()
    again = block.experiment("e")
    with ThreadPoolExecutor(2) as pool:
        new = pool.submit(again.run_sampler, [_bell(0.2)], shots=8)
        pool.submit(again.run_sampler, [_bell(0.1)], shots=8).result()
        new.result()
    assert platform.jobs_of(first.uid) == 2
    again.close_session()


def test_a_session_that_ends_between_two_jobs_is_replaced(
    block: QuantumSession, platform: Platform
) -> None:
    """P4: a job that the closed session refuses goes to the next session, and is one job."""
    experiment = block.experiment("e")
    experiment.run_sampler([_bell(0.1)], shots=8)
    first = str(experiment.session_id)
    platform.admin.end_session(first, "max_time")
    experiment.run_sampler([_bell(0.2)], shots=8)
    assert experiment.session_id != first
    assert platform.jobs_of(experiment.uid) == 2
    experiment.close_session()


def test_a_failed_connection_loses_nothing(
    ledger_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the platform away for too long a request fails clearly; what is recorded answers."""
    monkeypatch.setattr("session_block.environment.backoff.OUTAGE_SECONDS", 0.5)
    with LocalPlatform(tmp_path / "platform", interactive_seconds=1) as own:
        block = block_for(own.info, ledger_url, instance=own.info.instance)
        experiment = block.experiment("e")
        counts = _counts(experiment)
    away = block.experiment("e")
    assert _counts(away) == counts
    with pytest.raises(ConnectionFailedError, match="could not be reached for"):
        away.run_sampler([_bell(0.3)], shots=8)
    assert block.experiment("e").session_id == experiment.session_id


def test_a_job_unknown_to_the_platform_is_held(
    block: QuantumSession, connection: Connection, platform: Platform
) -> None:
    """An accepted job that the instance does not know is never taken for not submitted."""
    experiment = block.experiment("e")
    reference = experiment.submit_sampler([_bell()], shots=8)
    session = attached(connection, str(experiment.session_id))
    connection.service.delete_job(reference.job_id)
    assert session.session_id
    with pytest.raises(SubmissionHeldError, match=reference.job_id):
        block.experiment("e").run_sampler([_bell()], shots=8)
    assert platform.jobs_of(experiment.uid) == 1
    experiment.cancel_session()


def test_what_the_platform_refused_is_asked_once_more(
    platform: Platform, block: QuantumSession
) -> None:
    """A recorded refusal does not outlive its cause: the next call asks, and here it is cured."""
    experiment = block.experiment("e")
    reference = experiment.submit_sampler([_bell(0.4)], shots=8)
    journal = Journal(block.ledger(), experiment.uid)
    intent = journal.get(Intent, reference.submission, 1)
    assert intent is not None
    request = sampler_request([_bell()], shots=8)
    submission = submission_id(request.fingerprint, 1)
    journal.record(
        replace(intent, submission=submission, fingerprint=request.fingerprint, concurrent=True)
    )
    journal.record(
        Outcome(
            submission=submission,
            generation=1,
            kind="rejected",
            cause="request",
            status=400,
            message="too deep",
        )
    )
    before = platform.jobs_of(experiment.uid)
    result = block.experiment("e").run_sampler([_bell()], shots=8)
    assert result[0].data.meas.num_shots == 8
    assert platform.jobs_of(experiment.uid) == before + 1
    experiment.cancel_session()


@pytest.mark.parametrize("implementation", ["v2", "executor"])
def test_both_families_of_primitives_run_and_replay(
    block: QuantumSession, platform: Platform, implementation: Any
) -> None:
    """Sampler and Estimator of either family give results that survive the ledger unchanged."""
    observable = SparsePauliOp(["ZZ", "XX"])
    plain = _bell().remove_final_measurements(inplace=False)
    laid_out = observable.apply_layout(plain.layout)
    runs = []
    for _ in range(2):
        experiment = block.experiment("e")
        sampled = experiment.run_sampler([_bell()], shots=256, implementation=implementation)
        estimated = experiment.run_estimator(
            [(plain, laid_out)], precision=0.05, implementation=implementation
        )
        runs.append(
            (
                sampled[0].data.meas.get_counts(),
                estimated[0].data.evs.tobytes(),
                estimated[0].data.stds.tobytes(),
            )
        )
    assert runs[0] == runs[1]
    assert set(runs[0][0]) <= {"00", "11"}
    assert float(np.frombuffer(runs[0][1])[0]) == pytest.approx(2, abs=0.5)
    assert platform.jobs_of(experiment.uid) == 2
    experiment.close_session()


def _unfit() -> QuantumCircuit:
    circuit = QuantumCircuit(2, 2)
    circuit.h(0)
    circuit.measure([0, 1], [0, 1])
    return circuit


def _too_wide() -> QuantumCircuit:
    circuit = QuantumCircuit(9)
    circuit.x(0)
    circuit.measure_all()
    return circuit


def _looping() -> QuantumCircuit:
    circuit = QuantumCircuit(1, 1)
    circuit.measure(0, 0)
    with circuit.while_loop((circuit.clbits[0], 1)):
        circuit.measure(0, 0)
    return circuit


@pytest.mark.parametrize(
    ("primitive", "bad"),
    [(False, _unfit), (False, _too_wide), (True, _too_wide), (True, _looping)],
)
def test_a_program_that_passes_over_what_does_not_fit_is_resumed(
    platform: Platform, block: QuantumSession, primitive: bool, bad: Any
) -> None:
    """It gets the same error again, and every result, and it is not told that it diverged."""

    def sizes(experiment: Experiment, circuits: Iterable[QuantumCircuit]) -> list[Any]:
        found: list[Any] = []
        for circuit in circuits:
            try:
                result = (
                    DurableSampler(experiment).run([circuit], shots=8).result()
                    if primitive
                    else experiment.run_sampler([circuit], shots=8)
                )
            except NotISAError as error:
                found.append(type(error))
            else:
                found.append(result[0].data.meas.num_shots)
        return found

    for attempt in range(3):
        experiment = block.experiment("passes over")
        # The second attempt is interrupted right after the circuit that does not fit.
        circuits = [measured(1), bad(), measured(2), bad(), measured(3)][: 2 if attempt == 1 else 5]
        assert sizes(experiment, circuits) == [8, NotISAError, 8, NotISAError, 8][: len(circuits)]
        assert platform.jobs_of(experiment.uid) == 3
    experiment.close_session()
