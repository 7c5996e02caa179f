"""Every program of the client is durable: executor, noise learners, and any by its name."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prefect_helpers import CHECKOUT
from qiskit import QuantumCircuit, transpile
from qiskit.circuit import Parameter
from qiskit_ibm_runtime.quantum_program import QuantumProgram
from samplomatic import build
from samplomatic.transpiler import generate_boxing_pass_manager
from samplomatic.utils import find_unique_box_instructions
from session_support import jobs_at
from support import BACKEND, CHOICE, Platform

from session_block import JobRef, QuantumSession
from session_block.client import Connection
from session_block.crashpoints import CRASH_AT
from session_block.errors import InvalidInputError, NotISAError, SubmissionRejectedError
from session_block.records.views import load_experiment

_DEPTHS = {"layer_pair_depths": [0, 1], "num_randomizations": 2, "shots_per_randomization": 16}


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """An experiment's name that no other test uses."""
    return str(request.node.name)


@pytest.fixture(scope="module")
def target(platform: Platform) -> Any:
    """What circuits may consist of on the tests' backend."""
    return Connection(platform.credentials().account()).backends.target(CHOICE)


def program(target: Any, *, shots: int = 64, angles: tuple[float, ...] = (0.1, 0.2)) -> Any:
    """Return a quantum program of a circuit with arguments, and of a twirled one."""
    angle = Parameter("a")
    plain = QuantumCircuit(2, name="plain")
    plain.rx(angle, 0)
    plain.cx(0, 1)
    plain.measure_all()
    ready = transpile(plain, target=target, optimization_level=0)
    made = QuantumProgram(shots=shots)
    made.append_circuit_item(ready, circuit_arguments=np.array(angles)[:, None])
    twirled = QuantumCircuit(2)
    twirled.cx(0, 1)
    twirled.measure_all()
    boxes = generate_boxing_pass_manager(enable_gates=True, enable_measures=True)
    boxed = boxes.run(transpile(twirled, target=target, optimization_level=0))
    template, samplex = build(boxed)
    made.append_samplex_item(template, samplex=samplex, shape=(3,))
    return made


def layers(target: Any) -> list[Any]:
    """Return the boxed layers of a circuit."""
    circuit = QuantumCircuit(2)
    circuit.cx(0, 1)
    circuit.measure_all()
    boxes = generate_boxing_pass_manager(enable_gates=True, enable_measures=True)
    boxed = boxes.run(transpile(circuit, target=target, optimization_level=0))
    return list(find_unique_box_instructions(boxed.data))


def _equal(one: Any, other: Any) -> bool:
    return len(one) == len(other) and all(
        set(mine) == set(theirs)
        and all(np.array_equal(mine[key], theirs[key]) for key in mine.keys())  # noqa: SIM118
        for mine, theirs in zip(one, other, strict=True)
    )


def test_a_quantum_program_runs_once(
    block: QuantumSession, platform: Platform, target: Any, name: str
) -> None:
    """P1, P7: its result is the client's; a resumed run replays it, and so does a view."""
    first = block.experiment(name)
    result = first.run_executor(program(target))
    assert result[0]["meas"].shape == (2, 64, 2)
    assert result[1]["meas"].shape == (3, 64, 2)
    with block.experiment(name) as again:
        assert _equal(again.run_executor(program(target)), result)
        assert platform.jobs_of(first.uid) == 1
        other = again.run_executor(program(target, angles=(0.1, 0.3)))
        assert not _equal(other, result)
        assert not _equal(again.run_executor(program(target)), result)
    jobs = jobs_at(platform.info, first)
    assert [job["program"] for job in jobs] == ["executor"] * 3
    view = load_experiment(name, block.ledger())
    assert _equal(view.result(view.submissions()[0]["submission"]), result)
    assert {row["kind"] for row in view.submissions()} == {"executor"}


def test_a_reference_to_a_program_goes_to_other_processes(
    block: QuantumSession, target: Any, name: str
) -> None:
    """As one to a primitive's job does."""
    experiment = block.experiment(name)
    reference = experiment.submit_executor(program(target), label="bits")
    sent = JobRef.model_validate_json(reference.model_dump_json())
    assert (sent.kind, sent) == ("executor", reference)
    result = block.experiment(name).fetch_result(sent)
    assert _equal(result, experiment.run_executor(program(target), label="bits"))
    experiment.close_session()


@pytest.mark.filterwarnings("ignore:The NoiseLearner class is deprecated:DeprecationWarning")
@pytest.mark.parametrize("family", ["executor", "v2"])
def test_noise_is_learnt_once(
    block: QuantumSession, platform: Platform, target: Any, name: str, family: Any
) -> None:
    """Both of the client's learners: the models are recorded as the platform sent them."""
    if family == "executor":
        given: list[Any] = layers(target)
    else:
        circuit = QuantumCircuit(2)
        circuit.cx(0, 1)
        given = [transpile(circuit, target=target, optimization_level=0)]
    first = block.experiment(name)
    asked: dict[str, Any] = {"options": _DEPTHS, "implementation": family}
    learnt = first.learn_noise(given, **asked)
    with block.experiment(name) as again:
        assert _told(again.learn_noise(given, **asked)) == _told(learnt)
    assert platform.jobs_of(first.uid) == 1
    assert len(learnt) == len(given)


def _told(models: Any) -> str:
    return re.sub(r" at 0x[0-9a-f]+", "", repr(list(models)))


def test_any_program_runs_by_its_name(
    block: QuantumSession, platform: Platform, target: Any, name: str
) -> None:
    """Identified by what the user gave; a program that the platform lacks is its refusal."""
    first = block.experiment(name)
    first.run_executor(program(target))
    (job,) = jobs_at(platform.info, first)
    connection = Connection(platform.credentials().account())
    at_platform = connection.service._get_api_client(connection.instance)._session
    inputs = at_platform.get(f"/jobs/{job['id']}").json()["params"]
    given = {one: inputs[one] for one in ("schema_version", "quantum_program", "options")}
    options = {"job_tags": ["mine"], "max_execution_time": 100}
    with block.experiment(name, fresh=True) as experiment:
        result = experiment.run_program("executor", given, options=options)
        assert result[0]["meas"].shape == (2, 64, 2)
        assert _equal(experiment.run_program("executor", given, label="x"), result)
        with pytest.raises(SubmissionRejectedError, match="not found"):
            experiment.run_program("hello-world", {"iterations": np.int64(3)})
    with block.experiment(name) as again:
        assert _equal(again.run_program("executor", given, options=options), result)
    jobs = jobs_at(platform.info, experiment)
    assert len(jobs) == 2
    assert "mine" in jobs[0]["tags"]
    first.close_session()


@pytest.mark.parametrize(
    ("method", "given", "message"),
    [
        ("run_executor", [QuantumCircuit(1)], "A quantum program is needed"),
        ("run_executor", [QuantumProgram(shots=8)], "has no item"),
        ("learn_noise", [[]], "no layer"),
        ("learn_noise", [[QuantumCircuit(1)]], "boxed layers, not QuantumCircuit objects"),
        ("learn_noise", [[(QuantumCircuit(1), "Z")]], "boxed layers, not tuple objects"),
        ("learn_noise", [[1]], "boxed layers, not int objects"),
        ("run_program", ["", {}], "cannot be the name"),
        ("run_program", ["sampler", {}], "run_sampler"),
        ("run_program", ["mine", {"x": object()}], "inputs of program 'mine' are"),
    ],
)
def test_what_cannot_be_right_is_refused(
    block: QuantumSession, platform: Platform, method: str, given: list[Any], message: str
) -> None:
    """Before anything is recorded or sent."""
    experiment = block.experiment(f"wrong-{method}")
    before = platform.stats()["requests"].get("POST /jobs", 0)
    with pytest.raises(InvalidInputError, match=message):
        getattr(experiment, method)(*given)
    assert platform.stats()["requests"].get("POST /jobs", 0) == before
    assert not block.ledger().facts(experiment.uid, "intent/")


def test_wrong_options_and_circuits_are_refused(block: QuantumSession, target: Any) -> None:
    """They name what is wrong."""
    experiment = block.experiment("wrong-options")
    with pytest.raises(InvalidInputError, match="no runtime option 'shots'"):
        experiment.run_program("mine", {}, options={"shots": 3})
    with pytest.raises(InvalidInputError, match="ExecutorOptions for an executor, not"):
        experiment.run_executor(program(target), options=7)
    bare = QuantumCircuit(2)
    bare.h(0)
    bare.measure_all()
    wrong = QuantumProgram(shots=8)
    wrong.append_circuit_item(bare)
    with pytest.raises(NotISAError, match="circuit of item 0 does not fit"):
        experiment.run_executor(wrong)
    with pytest.raises(InvalidInputError, match="cannot make a job"):
        experiment.learn_noise(bare.data, implementation="executor")
    assert not block.ledger().facts(experiment.uid, "session")


def test_raw_results_are_kept_and_processed_again(block: QuantumSession, name: str) -> None:
    """The recorded result replays; the raw one is the Block's choice, or the platform's."""
    bare = QuantumCircuit(1)
    bare.sx(0)
    for keep in (True, False):
        keeping = block.model_copy(update={"keep_raw": keep, "implementation": "executor"})
        with keeping.experiment(f"{name}-{keep}") as experiment:
            job = experiment.submit_estimator([(bare, "Z")], precision=0.1)
            with pytest.raises(InvalidInputError, match="has no result yet"):
                experiment.reprocess(job)
            result = experiment.fetch_result(job)
            again = experiment.reprocess(job)
        assert again[0].data.evs == result[0].data.evs
        assert bool(block.ledger().facts(experiment.uid, "raw/")) is keep
        (recorded,) = block.ledger().facts(experiment.uid, "result/")
        assert {"qiskit-ibm-runtime", "samplomatic"} <= set(recorded.body["made_with"])
    with block.experiment(f"{name}-v2") as experiment:
        experiment.run_estimator([(bare, "Z")], precision=0.1, implementation="v2")
    (recorded,) = block.ledger().facts(experiment.uid, "result/")
    assert "made_with" not in recorded.body


_PROGRAM = """
import sys
from qiskit import QuantumCircuit
from qiskit.quantum_info import SparsePauliOp
from qiskit_ibm_runtime.executor_estimator import Estimator
from support import BACKEND
from test_every_program import layers, program
from session_block import LocalPlatformCredentials, QuantumSession
state_dir, ledger_url, name = sys.argv[1:]
block = QuantumSession(
    credentials=LocalPlatformCredentials(state_dir=state_dir),
    backend_name=BACKEND,
    ledger_url=ledger_url,
)
with block.experiment(name) as experiment:
    target = experiment.backend.target
    for angle in (0.1, 0.2, 0.3):
        bits = experiment.run_executor(program(target, angles=(angle,)))
        print([bits[0]["meas"].sum().item(), bits[1]["meas"].sum().item()])
    learned = experiment.learn_noise(layers(target), implementation="executor")
    print(list(learned))
    mitigation = {"default_shots": 100, "resilience": {"pec_mitigation": True}}
    circuit = QuantumCircuit(2)
    circuit.cx(0, 1)
    pub = experiment.transpile(circuit, SparsePauliOp("ZZ"))
    boxes = Estimator(experiment.backend, mitigation).find_unique_layers([pub])
    models = experiment.learn_noise(boxes, implementation="executor").to_pauli_lindblad_maps()
    mitigation["resilience"]["layer_noise_model"] = list(zip(boxes, models))
    asked = {"options": mitigation, "implementation": "executor"}
    print(experiment.run_estimator([pub], **asked)[0].data.evs)
"""


@pytest.mark.rest
def test_killed_programs_end_where_the_whole_ones_do(platform: Platform, ledger_url: str) -> None:
    """P1, P7, P8: with another hash seed in each process, and the same jobs; a PEC among them."""
    whole = _run(platform, ledger_url, "whole", seed=1)
    for seed, job in enumerate((2, 2, 1), start=2):
        _run(platform, ledger_url, "killed", seed=seed, kill=f"record outcome, after:{job}")
    assert _run(platform, ledger_url, "killed", seed=5) == whole
    block = QuantumSession(
        credentials=platform.credentials(),
        backend_name=BACKEND,
        ledger_url=ledger_url,  # type: ignore[arg-type]
    )
    jobs = [platform.jobs_of(block.experiment(one).uid) for one in ("whole", "killed")]
    assert jobs == [6, 6]


def _run(platform: Platform, ledger_url: str, name: str, *, seed: int, kill: str = "") -> str:
    path = f"{Path(__file__).parent}:{CHECKOUT}/tests:{CHECKOUT}"
    ran = subprocess.run(
        [sys.executable, "-c", _PROGRAM, str(platform.info.state_dir), ledger_url, name],
        env={
            **os.environ,
            "PYTHONPATH": path,
            "PYTHONHASHSEED": str(seed),
            "PYTHONWARNINGS": "ignore",
            **({CRASH_AT: kill} if kill else {}),
        },
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert ran.returncode == (-signal.SIGKILL if kill else 0), ran.stderr[-3000:]
    return ran.stdout
