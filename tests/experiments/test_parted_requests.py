"""Requests that take several jobs: PUBs with different shots or precision, in one request."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
from qiskit import QuantumCircuit
from session_support import jobs_at
from support import Platform

from session_block import DurableSampler, JobRef, PartedJob, QuantumSession
from session_block.environment.environment import Environment
from session_block.errors import BudgetExceededError, InvalidInputError, JobWaitTimeoutError
from session_block.experiments.experiment import Experiment
from session_block.tasks import fetch_result

SHOTS = [16, 8, 16, 24]


def _pubs(shots: list[int] = SHOTS) -> list[Any]:
    pubs = []
    for number, one in enumerate(shots):
        circuit = QuantumCircuit(1, 1)
        circuit.sx(0)
        circuit.rz(0.1 * number, 0)
        circuit.sx(0)
        circuit.measure(0, 0)
        pubs.append((circuit, None, one))
    return pubs


def _counted(result: Any) -> list[int]:
    return [one.data.c.num_shots for one in result]


@pytest.fixture
def block(block: QuantumSession) -> QuantumSession:
    """An unsaved Block of the family whose jobs have one number of shots."""
    return block.model_copy(update={"implementation": "executor"})


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """An experiment's name that no other test uses."""
    return str(request.node.name)


@pytest.mark.parametrize("label", [None, "counts"])
def test_pubs_with_different_shots_take_a_job_each(
    block: QuantumSession, platform: Platform, name: str, label: str | None
) -> None:
    """One result in the PUBs' order; a resumed run replays it; v2 needs one job."""
    first = block.experiment(name)
    counts = first.run_sampler(_pubs(), label=label)
    assert _counted(counts) == SHOTS
    assert platform.jobs_of(first.uid) == 3
    with block.experiment(name) as again:
        replayed = again.run_sampler(_pubs(), label=label)
    assert [one.data.c.get_counts() for one in replayed] == [
        one.data.c.get_counts() for one in counts
    ]
    assert platform.jobs_of(first.uid) == 3
    with block.experiment(name, fresh=True) as other, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Specifying different 'shots'", DeprecationWarning)
        assert _counted(other.run_sampler(_pubs(), implementation="v2")) == SHOTS
    assert platform.jobs_of(other.uid) == 1


def test_parts_that_have_run_do_not_run_again(
    block: QuantumSession, platform: Platform, name: str
) -> None:
    """A run that ended between two parts goes on with the second one."""
    poor = block.model_copy(update={"max_jobs": 1})
    first = poor.experiment(name)
    with pytest.raises(BudgetExceededError):
        first.run_sampler(_pubs())
    assert platform.jobs_of(first.uid) == 1
    with block.experiment(name) as again:
        assert _counted(again.run_sampler(_pubs())) == SHOTS
    assert platform.jobs_of(first.uid) == 3
    intents = block.ledger().facts(first.uid, "intent/")
    assert sorted(fact.body["part"] for fact in intents) == [[1, 3], [2, 3], [2, 3], [3, 3]]


def test_a_part_is_not_an_equal_request_of_its_own(
    block: QuantumSession, platform: Platform, name: str
) -> None:
    """The same PUBs asked for alone are another request, in this run and in the next."""
    one_by_one = [[0, 2], [1], [3]]
    for _ in range(2):
        experiment = block.experiment(name)
        experiment.run_sampler(_pubs())
        for places in one_by_one:
            assert len(experiment.run_sampler([_pubs()[place] for place in places])) == len(places)
    assert platform.jobs_of(experiment.uid) == 6
    experiment.close_session()


@pytest.mark.usefixtures("prefect_server")
def test_a_reference_stands_for_all_parts(
    block: QuantumSession, platform: Platform, name: str
) -> None:
    """It goes through JSON into a task of another process, and names each job."""
    block.save(name.replace("_", "-"), overwrite=True)
    experiment = block.experiment(name)
    reference = experiment.submit_sampler(_pubs(), label="counts")
    sent = JobRef.model_validate_json(reference.model_dump_json())
    assert sent == reference
    assert {one.job_id for one in sent.parts or ()} == {
        str(job["id"]) for job in jobs_at(platform.info, experiment)
    }
    assert _counted(fetch_result.fn(sent)) == SHOTS
    assert _counted(block.experiment(name).fetch_result(sent)) == SHOTS
    experiment.close_session()


def test_the_drop_in_primitives_return_one_job_for_all_parts(
    block: QuantumSession, platform: Platform, name: str
) -> None:
    """It has what libraries read of a job, and says so where it differs."""
    with block.experiment(name) as experiment:
        job = DurableSampler(experiment).run(_pubs())
        assert isinstance(job, PartedJob)
        assert _counted(job.result(timeout=60)) == SHOTS
        assert (job.status(), job.done(), job.in_final_state()) == ("DONE", True, True)
        assert [job.running(), job.errored(), job.cancelled()] == [False] * 3
        assert job.error_message() is None
        assert len(set(job.job_ids)) == 3
        assert job.job_ids[0] == job.job_id()
        assert [pub[2] for pub in job.inputs["pubs"]] == SHOTS
        assert job.backend().name == experiment.backend.name
        assert job.usage() >= 0
        with pytest.raises(InvalidInputError, match="cannot be pickled"):
            job.__reduce_ex__(4)
        assert job.reference(experiment.session_ref).job_id == job.job_id()
    assert platform.jobs_of(experiment.uid) == 3


def test_a_cancelled_part_is_told(slow_block: QuantumSession) -> None:
    """Cancelling the job cancels what has not ended."""
    block = slow_block.model_copy(update={"implementation": "executor"})
    experiment = block.experiment("cancelled-parts")
    job = DurableSampler(experiment).run(_pubs([8, 9, 10]))
    assert job.status() in {"QUEUED", "RUNNING"}
    job.cancel()
    job.wait_for_final_state()
    assert job.cancelled()
    experiment.close_session()


def test_a_timeout_is_used_up_by_one_part_after_another() -> None:
    """Each part waits for what the parts before it have left, and never for less than nothing."""

    class Clock(Environment):
        seconds = 100.0

        def monotonic(self) -> float:
            return self.seconds

    clock = Clock(lambda url: url)
    left, unlimited = clock.time_left(2.5), clock.time_left(None)
    assert (left(), unlimited()) == (2.5, None)
    clock.seconds += 1.5
    assert (left(), unlimited()) == (1.0, None)
    clock.seconds += 1.5
    assert (left(), unlimited()) == (0.0, None)


def test_a_wait_for_parts_times_out_and_goes_on_later(slow_block: QuantumSession) -> None:
    """The jobs continue; a later wait has all of them."""
    block = slow_block.model_copy(update={"implementation": "executor"})
    experiment = block.experiment("slow-parts")
    job = DurableSampler(experiment).run(_pubs([8, 9, 10]))
    reference = job.reference(experiment.session_ref)
    with pytest.raises(JobWaitTimeoutError):
        experiment.fetch_result(reference, timeout_seconds=0)
    assert _counted(experiment.fetch_result(reference, timeout_seconds=60)) == [8, 9, 10]
    experiment.close_session()


def test_precisions_are_parts_too_and_the_estimate_counts_them(
    block: QuantumSession, platform: Platform, name: str
) -> None:
    """An estimate of a parted request is one of several jobs."""
    bare = QuantumCircuit(1)
    bare.sx(0)
    pubs = [(bare, "Z", None, 0.2), (bare, "X"), (bare, "Y", None, 0.1), (bare, "Z", None, 0.2)]
    with block.experiment(name) as experiment:
        assert experiment.estimate_estimator(pubs).jobs == 3
        result = experiment.run_estimator(pubs)
        assert experiment.estimate_estimator(pubs[:1]).jobs == 1
        shots = [_shots(experiment, job["id"]) for job in jobs_at(platform.info, experiment)]
    assert shots == [[25, 25], [4096], [100]]
    assert len(result) == 4


def _shots(experiment: Experiment, job_id: str) -> list[int]:
    """Return the shots of a job, once for each of its PUBs."""
    program = experiment.service.job(job_id).inputs["quantum_program"]
    told = program.passthrough_data["post_processor"]
    return [told["shots"]] * told["num_pubs"]
