"""Each rule of the check, with the failure on IBM's service that it stands for."""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from qiskit import ClassicalRegister, QuantumCircuit
from qiskit.circuit import BoxOp, CircuitInstruction, Gate, Instruction, Parameter
from qiskit.quantum_info import SparsePauliOp
from qiskit_ibm_runtime import Executor, IBMBackend, NoiseLearner, QuantumProgram
from qiskit_ibm_runtime.executor_sampler import Sampler
from samplomatic import Twirl
from session_support import block_for

from session_block import CheckFinding, Experiment, QuantumSession
from session_block.errors import CheckFailedError, InvalidInputError, JobFailedError, NotISAError
from session_block.experiments.program_request import executor_request, program_request
from session_block.local_platform import Admin, LocalPlatform
from session_block.operations.submissions import Operator
from session_block.prechecks.checking import Precheck, findings_of
from session_block.prechecks.circuits import (
    instructions_per_qubit,
    too_many_gates,
    too_many_instructions,
    why_too_large,
)
from session_block.prechecks.rules import RULES
from session_block.prechecks.spending import SPENDING_RULES, Charge, Spending
from session_block.prechecks.subject import Device
from session_block.pubs.request import sampler_request

pytestmark = pytest.mark.filterwarnings("ignore:The NoiseLearner class is deprecated")

WIDTH = 156
Z = SparsePauliOp("I" * (WIDTH - 1) + "Z")
GATES = {"twirling": {"enable_gates": True}}
PEC = {"resilience": {"pec_mitigation": True}}
PEA = {"resilience": {"zne_mitigation": True, "zne": {"amplifier": "pea"}}}
TURN = Parameter("turn")


def circuit(*gates: str, width: int = WIDTH, angle: Any = 1.0, measured: bool = True) -> Any:
    """Return a circuit of gates on the first qubits of the device."""
    made = QuantumCircuit(width)
    for name in gates:
        match name:
            case "rx":
                made.rx(angle, 0)
            case "rzz":
                made.rzz(angle, 0, 1)
            case "far":
                made.cz(0, 100)
            case "near":
                made.cz(0, 1)
            case _:
                getattr(made, name)(0)
    if measured:
        made.add_register(ClassicalRegister(1, "meas"))
        made.measure(0, 0)
    return made


def undefined() -> QuantumCircuit:
    """Return a circuit with a gate that nobody has defined."""
    made = QuantumCircuit(WIDTH, 1)
    made.append(Gate("mystery", 1, []), [0])
    made.measure(0, 0)
    return made


def dynamic() -> QuantumCircuit:
    """Return a circuit that measures and decides."""
    made = QuantumCircuit(WIDTH, 1)
    made.measure(0, 0)
    with made.if_test((0, 1)):
        made.x(0)
    return made


def program(
    *circuits: QuantumCircuit, shots: int = 16, values: list[float] | None = None
) -> QuantumProgram:
    """Return a quantum program of circuits; values are those of each circuit's one parameter."""
    made = QuantumProgram(shots=shots)
    for one in circuits:
        given = {} if values is None else {"circuit_arguments": np.array(values)[:, None]}
        made.append_circuit_item(one, **given)
    return made


def layer(gate: str) -> Any:
    """Return a boxed and twirled layer of one gate on the device's register."""
    body = QuantumCircuit(2)
    if gate == "rzz":
        body.rzz(1.0, 0, 1)
    else:
        body.cz(0, 1)
    made = QuantumCircuit(WIDTH)
    made.append(BoxOp(body, annotations=[Twirl(group="local_pauli")]), [0, 1])
    return made.data[0]


@dataclass(frozen=True)
class Case:
    """A request that IBM's service fails.

    Attributes:
        rule: The rule that knows it.
        given: What ``check`` is given.
        kind: The platform's program that runs it.
        family: The client's family.
        code: The code of the job.
        severity: What the check does about it.
        raises: What the submission raises, if it is refused.
        sent: How the bare client sends it, if not as ``kind`` with ``given`` as its PUBs.
    """

    rule: str
    given: Any
    code: int
    kind: str = "sampler"
    options: dict[str, Any] = field(default_factory=dict)
    family: str = "v2"
    severity: str = "refuse"
    raises: type[Exception] = CheckFailedError
    sent: Callable[[IBMBackend], Any] | None = None


def _estimated(*gates: str, **options: Any) -> dict[str, Any]:
    return {
        "given": [(circuit(*gates, measured=False), Z, None, 0.5)],
        "kind": "estimator",
        "options": options,
    }


CASES = {
    "undefined gate": Case("undefined-gate", [(undefined(), None, 16)], 1506, raises=NotISAError),
    "foreign gate": Case("not-isa", [(circuit("h"), None, 16)], 1517, raises=NotISAError),
    "not coupled": Case("not-isa", [(circuit("far"), None, 16)], 1517, raises=NotISAError),
    "too wide": Case(
        "not-isa", [(circuit("sx", width=WIDTH + 1), None, 16)], 1517, raises=NotISAError
    ),
    "angle": Case("not-isa", [(circuit("rzz", angle=2.0), None, 16)], 1517, raises=NotISAError),
    "angle of a PUB": Case(
        "not-isa",
        [(circuit("rzz", angle=TURN), [[0.5], [-0.5]], 16)],
        1517,
        raises=NotISAError,
    ),
    "angle of a program": Case(
        "rzz-angle",
        program(circuit("rzz", angle=TURN), values=[0.5, -0.5]),
        1517,
        kind="executor",
        family="executor",
    ),
    "twirled": Case("fractional-gates", [(circuit("rx"), None, 16)], 1519, options=GATES),
    "level 2": Case("fractional-gates", code=1519, **_estimated("rx", resilience_level=2)),
    "PEC": Case("fractional-gates", code=1519, **_estimated("rzz", **PEC)),
    "PEA": Case("fractional-gates", code=1519, **_estimated("rzz", **PEA)),
    "learned": Case(
        "fractional-gates",
        [circuit("rzz", "near", measured=False)],
        1519,
        kind="noise-learner",
        sent=lambda backend: NoiseLearner(backend).run([circuit("rzz", "near", measured=False)]),
    ),
    "width": Case(
        "observable-width",
        [(circuit("sx", measured=False), SparsePauliOp("ZZ"), None, 0.5)],
        1501,
        kind="estimator",
        raises=InvalidInputError,
    ),
    "dynamic": Case("dynamic-estimator", [(dynamic(), Z, None, 0.5)], 1522, kind="estimator"),
    "exclusive": Case(
        "exclusive-options",
        code=1521,
        raises=InvalidInputError,
        **_estimated("sx", resilience={"pec_mitigation": True, "zne_mitigation": True}),
    ),
    "executions": Case("executions", [(circuit("sx"), None, 10_000_001)], 1520),
    "executions of an executor": Case(
        "executions",
        [(circuit("sx"), None, 10_000_001)],
        1520,
        family="executor",
        sent=lambda backend: Sampler(backend).run([circuit("sx")], shots=10_000_001),
    ),
    "executions of a program": Case(
        "program-executions",
        program(circuit("sx"), shots=10_000_001),
        1520,
        kind="executor",
        family="executor",
        severity="warn",
    ),
    "circuits": Case("max-experiments", [(circuit("sx"), None, 1)] * 301, 1520, severity="warn"),
    "memory": Case(
        "memory",
        [(circuit("sx", measured=False), Z, None, 0.5)] * 300,
        1336,
        kind="estimator",
        options={"resilience_level": 2},
        severity="warn",
    ),
}


@pytest.fixture(scope="module")
def local() -> Iterator[LocalPlatform]:
    """A platform that fails jobs as IBM does."""
    with LocalPlatform() as platform:
        yield platform


@pytest.fixture(scope="module")
def fez(local: LocalPlatform) -> IBMBackend:
    """A device with fractional gates, of the bare client."""
    return local.service().backend("ibm_fez", use_fractional_gates=True)


@pytest.fixture
def block(local: LocalPlatform, ledger_url: str) -> QuantumSession:
    """A Block for that device."""
    return block_for(
        local.info, ledger_url, backend_name="ibm_fez", use_fractional_gates=True, mode="job"
    )


def _code(local: LocalPlatform, job: Any) -> int | None:
    job.wait_for_final_state(timeout=120)
    headers = {
        "Authorization": f"apikey {local.info.token}",
        "Service-CRN": local.info.instance,
        "IBM-API-Version": "2026-04-15",
    }
    with httpx.Client(base_url=local.info.url, headers=headers, timeout=60) as api:
        state = api.get(f"/jobs/{job.job_id()}").json()["state"]
    code: int | None = state.get("reason_code")
    return code


def _sent(backend: IBMBackend, case: Case) -> Any:
    """Send a request as a client does that checks nothing."""
    if case.sent is not None:
        return case.sent(backend)
    if case.kind == "executor":
        return Executor(backend).run(case.given)
    pubs = [list(pub) for pub in case.given]
    if case.kind == "estimator":
        pubs = [[pub[0], dict(pub[1].label_iter()), *pub[2:]] for pub in pubs]
    params = {"pubs": pubs, "options": case.options, "version": 2, "support_qiskit": True}
    return backend.service._run(case.kind, params, {"backend": backend})


def _checked(experiment: Experiment, case: Case) -> list[CheckFinding]:
    return experiment.check(
        case.given,
        kind=case.kind,  # type: ignore[arg-type]
        options=case.options or None,
        implementation=case.family,  # type: ignore[arg-type]
    )


def _submitted(experiment: Experiment, case: Case) -> Any:
    given: dict[str, Any] = {"options": case.options or None}
    if case.kind == "executor":
        return experiment.submit_executor(case.given, **given)
    given["implementation"] = case.family
    if case.kind == "noise-learner":
        return experiment.submit_noise_learning(case.given, **given)
    return getattr(experiment, f"submit_{case.kind}")(case.given, **given)


@pytest.mark.rest
@pytest.mark.parametrize("name", sorted(CASES))
def test_the_bare_clients_job_fails_with_that_code(
    local: LocalPlatform, fez: IBMBackend, name: str
) -> None:
    """After it was queued, on the platform that does as published jobs did."""
    case = CASES[name]
    assert _code(local, _sent(fez, case)) == case.code


@pytest.mark.parametrize("name", sorted(CASES))
def test_the_check_says_so_before(local: LocalPlatform, block: QuantumSession, name: str) -> None:
    """With rule, code and cure; and a submission is refused without a request to submit."""
    case, admin = CASES[name], Admin.of(local.info)
    experiment = block.experiment(name)
    before = admin.stats()["requests"]
    found = [one for one in _checked(experiment, case) if one.rule == case.rule]
    assert {(one.code, one.severity) for one in found} == {(case.code, case.severity)}
    assert all(one.message and one.cure and f"code {case.code}" in str(one) for one in found)
    guessed = case.family == "executor" or (case.severity == "warn" and case.rule != "memory")
    assert {one.code_is_guess for one in found} == {guessed}
    if case.severity == "refuse":
        with pytest.raises(case.raises) as refused:
            _submitted(experiment, case)
        if isinstance(refused.value, CheckFailedError):
            assert [one.rule for one in refused.value.findings] == [case.rule]
            assert (refused.value.code, refused.value.experiment) == (case.code, experiment.uid)
            assert "Nothing was submitted" in str(refused.value)
    after = admin.stats()["requests"]
    assert after.get("POST /jobs", 0) == before.get("POST /jobs", 0)
    assert after.get("POST /sessions", 0) == before.get("POST /sessions", 0)
    assert not block.ledger().facts(experiment.uid, "intent/")


def test_every_rule_with_a_code_has_its_failure() -> None:
    """And what is only guessed never refuses."""
    coded = {rule.name for rule in RULES if rule.code is not None}
    assert coded == {case.rule for case in CASES.values()}
    assert {rule.name: rule.code for rule in RULES if rule.code is not None} == {
        case.rule: case.code for case in CASES.values()
    }
    everything = (*RULES, *SPENDING_RULES)
    assert len({rule.name for rule in everything}) == len(everything)
    assert not [
        one.name for one in everything if (one.evidence, one.severity) == ("guess", "refuse")
    ]


def test_the_number_is_that_of_the_pub(block: QuantumSession) -> None:
    """All that is wrong is found at once, also beside PUBs that are no PUBs."""
    found = block.experiment("numbers").check(
        [
            (circuit("sx"), None, 16),
            (circuit("h"), None, 16),
            (circuit("sx", measured=False), None, 16),
            (circuit("far"), None, 32),
        ]
    )
    assert [(one.pub, one.rule) for one in found] == [
        (2, "client"),
        (1, "not-isa"),
        (3, "not-isa"),
    ]
    assert "measures nothing" in found[0].message


def test_a_program_that_measures_nothing(block: QuantumSession, local: LocalPlatform) -> None:
    """It would be bought, and return nothing; an item that does so is only warned about."""
    experiment, admin = block.experiment("nothing"), Admin.of(local.info)
    before = admin.stats()["requests"].get("POST /jobs", 0)
    nothing = program(circuit("sx", measured=False))
    assert [one.rule for one in experiment.check(nothing)] == ["nothing-measured"]
    with pytest.raises(CheckFailedError, match="nothing-measured"):
        experiment.run_executor(nothing)
    assert admin.stats()["requests"].get("POST /jobs", 0) == before
    some = program(circuit("sx", measured=False), circuit("sx"))
    (found,) = experiment.check(some)
    assert (found.rule, found.pub, found.severity) == ("item-measures-nothing", 0, "warn")
    timing = {"execution": {"scheduler_timing": True}}
    assert experiment.check(nothing, options=timing) == []  # it returns the timing


def test_a_program_by_its_name_may_hold_anything(fez: IBMBackend) -> None:
    """The rules look at what the client made, and leave the rest to the platform."""
    device = Device(fez, fez.target)
    for name, inputs in (
        ("executor", {"program": [1], "quantum_program": {"items": "?", "shots": None}}),
        ("noise-learner", {"circuits": np.zeros(3), "layers": "mine"}),
        ("noise-learner", {"layers": [(), 3, "x"]}),
        ("mine", {"pubs": [circuit("sx", measured=False)]}),
    ):
        assert findings_of(program_request(name, inputs), device) == []
    fractional = program_request("noise-learner", {"circuits": [circuit("rzz", measured=False)]})
    assert [one.code for one in findings_of(fractional, device)] == [1519]


def test_what_warns_is_submitted(block: QuantumSession, caplog: pytest.LogCaptureFixture) -> None:
    """With one line in the log for each rule."""
    some = program(circuit("sx", measured=False), circuit("sx"))
    with block.experiment("warned") as experiment:
        assert experiment.run_executor(some)[1]["meas"].shape == (16, 1)
        experiment.run_executor(some)
    assert len([one for one in caplog.records if "item-measures-nothing" in one.message]) == 1


def test_the_clients_own_refusal_is_a_finding(block: QuantumSession) -> None:
    """Such as decoupling on a dynamic circuit, or twirling of what no group twirls."""
    experiment = block.experiment("client")
    decoupled = {"dynamical_decoupling": {"enable": True}}
    for given, options in (([dynamic()], decoupled), ([circuit("rzz")], GATES)):
        (found,) = experiment.check(given, options=options, implementation="executor")
        assert (found.rule, found.severity, found.code) == ("client", "refuse", None)
    (found,) = experiment.check([circuit("sx")], options={"no_such": 1})
    assert found.rule == "client"
    (found,) = experiment.check([layer("rzz")], kind="noise-learner", implementation="executor")
    assert (found.rule, found.severity) == ("client", "refuse")
    assert not experiment.check([layer("cz")], kind="noise-learner", implementation="executor")
    both = {"resilience": {"pec_mitigation": True, "zne_mitigation": True}}
    pub = (circuit("sx", measured=False), Z)
    (found,) = experiment.check([pub], options=both, implementation="executor")
    assert (found.rule, found.code, found.code_is_guess) == ("exclusive-options", 1521, True)
    with pytest.raises(CheckFailedError, match="exclude each other"):
        experiment.run_estimator([pub], options=both, implementation="executor")


def test_a_part_names_the_pub_of_the_whole(block: QuantumSession) -> None:
    """PUBs of other shots are other jobs of the family executor."""
    found = block.experiment("parts").check(
        [(circuit("sx"), None, 16), (circuit("sx"), None, 10_000_001), (circuit("h"), None, 32)],
        implementation="executor",
    )
    assert [(one.pub, one.rule) for one in found] == [(None, "executions"), (2, "not-isa")]


def test_twirling_numbers_below_the_shots(fez: IBMBackend) -> None:
    """IBM's pages say that such a job fails (docs); nobody has published its code."""
    options = {"twirling": {**GATES["twirling"], "num_randomizations": 2}}
    options["twirling"]["shots_per_randomization"] = 8  # type: ignore[assignment]
    asked = sampler_request([(circuit("sx"), None, 17)], options=options, implementation="v2")
    (found,) = findings_of(asked, Device(fez, fez.target))
    assert (found.rule, found.severity, found.code, found.pub) == (
        "twirling-shots",
        "warn",
        None,
        0,
    )


def test_the_size_of_circuits() -> None:
    """The documented limits of a circuit, which no ordinary one comes near."""
    some = QuantumCircuit(3)
    some.reset(0)
    some.cz(0, 1)
    some.sx(1)
    some.id(2)
    assert instructions_per_qubit(some) == 17 + 5
    assert why_too_large(some) is None
    assert too_many_instructions(26_800_000) is None
    assert "26800001" in str(too_many_instructions(26_800_001))
    assert too_many_gates({"rz": 30_000_000, "sx": 20_000_000, "cz": 5_000_000}) is None
    assert "rz gates" in str(too_many_gates({"rz": 30_000_001}))
    assert "sx gates" in str(too_many_gates({"sx": 20_000_001}))
    assert "two-qubit" in str(too_many_gates({"cz": 3_000_000, "cx": 2_000_001}))


@pytest.mark.rest
def test_a_circuit_that_is_too_large() -> None:
    """It is found among those that fit; to make one takes a while."""
    large = QuantumCircuit(2)
    large.data = [CircuitInstruction(Instruction("init", 1, 0, []), large.qubits[:1])] * 536_001
    assert "26800050" in str(why_too_large(large))  # 50 of each (docs)


def test_only_what_certainly_does_not_fit_is_refused() -> None:
    """Usage refuses by the lower end of the estimate, and warns by the rest; jobs are counted."""
    left = {
        "jobs_left": None,
        "budget_left_seconds": 10.0,
        "allocation_left_seconds": 10.0,
        "limit_seconds": 10.0,
    }

    def severities(low: float, seconds: float, high: float) -> set[str]:
        charge = Charge(seconds, low, high)
        found = list(Spending(1, charge, charge, **left).findings(guessed=False))  # type: ignore[arg-type]
        assert not found or {one.rule for one in found} == {
            "budget",
            "allocation",
            "max-execution-time",
        }
        return {one.severity for one in found}

    assert severities(5, 7, 9) == set()
    assert severities(5, 7, 11) == severities(5, 11, 12) == severities(10, 11, 12) == {"warn"}
    assert severities(10.5, 11, 12) == {"refuse"}
    nothing = Charge(0, 0, 0)
    (jobs,) = Spending(3, nothing, nothing, 2, None, None, None).findings(guessed=True)
    assert (jobs.rule, jobs.severity) == ("budget-jobs", "refuse")


def test_a_job_s_own_limit_is_for_the_job_alone() -> None:
    """What a session is charged besides its jobs does not count."""
    spending = Spending(1, Charge(300, 5, 600), Charge(5, 2, 9), None, None, None, 10.0)
    assert not list(spending.findings(guessed=False))


def test_the_budget_is_checked_too(local: LocalPlatform, ledger_url: str) -> None:
    """With what is left now; the limits themselves are kept by the submission."""
    block = block_for(
        local.info, ledger_url, backend_name="ibm_fez", mode="job", max_jobs=1, max_usage="5s"
    )
    experiment = block.experiment("budgeted")
    found = experiment.check(
        [(circuit("sx"), None, 100_000), (circuit("x"), None, 50_000)],
        options={"max_execution_time": 10},
    )
    assert {(one.rule, one.severity) for one in found} == {
        ("budget-jobs", "refuse"),
        ("budget", "refuse"),
        ("max-execution-time", "refuse"),
    }
    assert experiment.check([(circuit("sx"), None, 100)]) == []


def test_what_is_recorded_is_never_refused(
    local: LocalPlatform, block: QuantumSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An older version sent it; a resumed run goes on with it, also if it must be sent again."""
    admin = Admin.of(local.info)
    pub = (circuit("sx"), None, 10_000_001)

    def run() -> None:
        with block.experiment("older") as experiment:
            experiment.run_sampler([pub], implementation="v2")

    with monkeypatch.context() as older:
        older.setattr(Precheck, "check", lambda *_, **__: None)  # a version without such rules
        with pytest.raises(JobFailedError) as failed:
            run()
    assert failed.value.code == 1520
    before = admin.stats()["requests"]["POST /jobs"]
    with pytest.raises(JobFailedError):
        run()
    assert admin.stats()["requests"]["POST /jobs"] == before
    Operator(block.ledger()).retry("older", str(failed.value.submission))
    with pytest.raises(JobFailedError):
        run()
    assert admin.stats()["requests"]["POST /jobs"] == before + 1
    with pytest.raises(CheckFailedError):
        block.experiment("newer").run_sampler([pub], implementation="v2")


def test_angles_that_fit(fez: IBMBackend) -> None:
    """A program's arguments up to π/2, and what has no argument."""
    right = program(circuit("rzz", angle=TURN), values=[0.5, math.pi / 2])
    assert findings_of(executor_request(right), Device(fez, fez.target)) == []


def test_an_error_is_whole_in_another_process(block: QuantumSession, tmp_path: Path) -> None:
    """P11: findings survive pickling, as Dask and Prefect do it."""
    with pytest.raises(CheckFailedError) as refused:
        block.experiment("pickled").run_executor(program(circuit("sx", measured=False)))
    file = tmp_path / "error"
    file.write_bytes(pickle.dumps(refused.value))
    again = pickle.loads(file.read_bytes())  # noqa: S301 - our own
    assert again.findings == refused.value.findings
    assert again.findings[0].rule == "nothing-measured"
