"""The rules: each is one function, with how it is known, IBM's code and the cure.

They are of the family that runs the request: the platform's own programs (``v2``), or the client's
own processing around the program ``executor``. Codes were seen on jobs of ``sampler``,
``estimator`` and ``noise-learner``; for an ``executor`` job every code is a guess.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from qiskit.primitives.containers.bindings_array import BindingsArray
from qiskit.primitives.containers.sampler_pub import SamplerPub
from qiskit_ibm_runtime.exceptions import IBMInputValueError
from qiskit_ibm_runtime.utils.validations import validate_rzz_pubs

from session_block.client import EXECUTOR
from session_block.prechecks.circuits import (
    first_fractional,
    is_dynamic,
    names_in,
    undefined_gates,
    why_too_large,
)
from session_block.prechecks.findings import CheckFinding, Evidence, Severity
from session_block.prechecks.subject import NOISE_LEARNER, Subject, option_of
from session_block.pubs.checks import measures

MAX_EXECUTIONS = 10_000_000
MEMORY_PUBS = 300
_MITIGATING_LEVEL = 2
_DEFAULT_SHOTS = 4096

Fault = tuple[int | None, str]
"""The number of the PUB, ``None`` for the whole request, and what is wrong with it."""


@dataclass(frozen=True)
class Rule:
    """One rule.

    Attributes:
        name: Its name, as a finding shows it.
        what: What it is about, in one line.
        severity: ``refuse`` or ``warn``; what is only guessed warns.
        evidence: How it is known.
        code: IBM's code; ``None`` if it is not known.
        cure: What to do about it.
        find: Gives what it finds; ``None`` for a rule that something else applies.
        of_program: Whether it looks at what the client would send.
    """

    name: str
    what: str
    severity: Severity
    evidence: Evidence
    code: int | None
    cure: str
    find: Callable[[Subject], Iterable[Fault]] | None = None
    of_program: bool = False

    def finding(self, pub: int | None, message: str, *, guessed: bool) -> CheckFinding:
        """Return what the rule has found.

        Args:
            pub: The number of the PUB, or ``None`` for the whole request.
            message: What is wrong.
            guessed: Whether its code was never seen on a job of this kind.
        """
        return CheckFinding(
            rule=self.name,
            severity=self.severity,
            pub=pub,
            code=self.code,
            code_is_guess=self.code is not None and (guessed or self.evidence != "real"),
            evidence=self.evidence,
            message=message,
            cure=self.cure,
        )

    def findings(self, subject: Subject) -> Iterator[CheckFinding]:
        """Give what the rule finds in a request."""
        guessed = subject.family == EXECUTOR and subject.request.kind != NOISE_LEARNER
        for pub, message in self.find(subject) if self.find is not None else ():
            yield self.finding(pub, message, guessed=guessed)


def _misfits(subject: Subject) -> Iterator[Fault]:
    for index, why in subject.request.misfits(subject.device.target):
        if not undefined_gates(subject.circuits[index], subject.device.target.operation_names):
            yield index, f"The circuit does not fit {subject.device.backend.name}: {why.message}"


def _undefined(subject: Subject) -> Iterator[Fault]:
    known = subject.device.target.operation_names
    for index, circuit in enumerate(subject.circuits):
        if names := undefined_gates(circuit, known):
            yield index, f"Nobody has defined the gate {names[0]}, and the device does not know it."


def _angles(subject: Subject) -> Iterator[Fault]:
    """Check the arguments of a quantum program; those of PUBs are checked with their circuits."""
    if not subject.is_quantum_program:
        return
    for index, item in enumerate(subject.request.inputs["program"].items):
        values = getattr(item, "circuit_arguments", None)
        is_turned = item.circuit.num_parameters and "rzz" in names_in(item.circuit)
        if values is None or not is_turned:
            continue
        bindings = BindingsArray({tuple(item.circuit.parameters): np.asarray(values)})
        try:
            validate_rzz_pubs([SamplerPub(item.circuit, bindings)])
        except IBMInputValueError as error:
            yield index, error.message


def _faulty(subject: Subject) -> Iterator[Fault]:
    for index, why in subject.request.faults(subject.device.backend):
        yield index, f"The circuit cannot run on {subject.device.backend.name} any more: {why}"


def _fractional(subject: Subject) -> Iterator[Fault]:
    if subject.request.kind == NOISE_LEARNER:
        if subject.request.implementation != EXECUTOR:
            found = first_fractional(subject.learned())
            if found is not None:
                yield None, f"No noise is learned of circuits with fractional gates ({found[1]})."
        return
    if not subject.is_server_side:
        return
    asked = {
        "gate twirling": subject.twirls_gates,
        "PEC": subject.option("resilience", "pec_mitigation") is True,
        "PEA": subject.amplifies_noise
        and subject.option("resilience", "zne", "amplifier") == "pea",
    }
    names = [name for name, is_asked in asked.items() if is_asked]
    if names and (found := subject.fractional()) is not None:
        yield found[0], f"There is no {names[0]} with the fractional gate {found[1]}."


def _dynamic(subject: Subject) -> Iterator[Fault]:
    if not subject.is_estimator:
        return
    for index, circuit in enumerate(subject.circuits):
        if is_dynamic(circuit):
            yield index, "The circuit has control flow, and the Estimator runs no dynamic circuits."


def _exclusive(subject: Subject) -> Iterator[Fault]:
    if subject.is_estimator and (said := why_exclusive(subject.request.options)):
        yield None, said


def why_exclusive(options: Any) -> str | None:
    """Say which of an Estimator's options exclude each other; ``None`` if none do.

    Args:
        options: The options of either family, or a dict.
    """
    pec = option_of(options, "resilience", "pec_mitigation") is True
    if pec and option_of(options, "resilience", "zne_mitigation") is True:
        return "The options pec_mitigation and zne_mitigation exclude each other."
    return None


def _executions(subject: Subject) -> Iterator[Fault]:
    if subject.request.kind != "sampler":
        return
    executions = _sampled(subject)
    if executions > MAX_EXECUTIONS:
        yield None, _too_many(executions)


def _program_executions(subject: Subject) -> Iterator[Fault]:
    executions = None if subject.request.kind == "sampler" else subject.executions
    if executions is not None and executions > MAX_EXECUTIONS:
        yield None, _too_many(executions)


def _too_many(executions: int) -> str:
    return f"The job takes {executions:,} executions, and {MAX_EXECUTIONS:,} are allowed."


def _sampled(subject: Subject) -> int:
    """Return the executions of a Sampler job."""
    if subject.executions is not None:
        return subject.executions
    usual = _twirled_shots(subject) or subject.option("default_shots") or _DEFAULT_SHOTS
    return sum(int(pub.shots or usual) * pub.size for pub in subject.pubs)


def _twirled_shots(subject: Subject) -> int | None:
    """Return the shots from both numbers of twirling; ``None`` if it is off or lacks one."""
    switches = ("enable_gates", "enable_measure")
    if not any(subject.option("twirling", one) for one in switches):
        return None
    numbers = ("num_randomizations", "shots_per_randomization")
    runs, shots = (subject.option("twirling", one) for one in numbers)
    return runs * shots if isinstance(runs, int) and isinstance(shots, int) else None


def _twirling_shots(subject: Subject) -> Iterator[Fault]:
    if subject.request.kind != "sampler" or not subject.is_server_side:
        return
    most = _twirled_shots(subject)
    for index, pub in enumerate(subject.pubs):
        if most is not None and (pub.shots or 0) > most:
            yield (
                index,
                (
                    f"It asks for {pub.shots} shots, and num_randomizations × "
                    f"shots_per_randomization of the twirling options are only {most}."
                ),
            )


def _many_circuits(subject: Subject) -> Iterator[Fault]:
    most = subject.device.max_experiments
    if most is not None and subject.num_circuits > most:
        yield (
            None,
            (
                f"The job has {subject.num_circuits} circuits, and the max_experiments of "
                f"{subject.device.backend.name} are {most}."
            ),
        )


def _memory(subject: Subject) -> Iterator[Fault]:
    if not (subject.is_server_side and subject.is_estimator):
        return
    if subject.level >= _MITIGATING_LEVEL and len(subject.pubs) >= MEMORY_PUBS:
        yield (
            None,
            (
                f"{len(subject.pubs)} PUBs at resilience level {subject.level} may take more "
                "memory than there is."
            ),
        )


def _too_large(subject: Subject) -> Iterator[Fault]:
    for index, circuit in enumerate(subject.circuits):
        if said := why_too_large(circuit):
            yield index, f"The circuit has {said}."


def _nothing_measured(subject: Subject) -> Iterator[Fault]:
    if _measured_items(subject) == 0:
        yield None, "No circuit of the program measures anything, so there is nothing to return."


def _item_without_measurement(subject: Subject) -> Iterator[Fault]:
    if _measured_items(subject):
        for index, circuit in enumerate(subject.circuits):
            if not measures(circuit):
                yield index, "The circuit of this item measures nothing, so it returns nothing."


def _measured_items(subject: Subject) -> int | None:
    """Return how many of a program's items measure; ``None`` if they need not."""
    if not subject.is_quantum_program:
        return None
    # A program may be run for the timing of its circuits alone.
    if any(subject.option("execution", one) for one in ("scheduler_timing", "stretch_values")):
        return None
    return sum(measures(circuit) for circuit in subject.circuits)


_SPLIT = "Split the request into several jobs."
_TRANSPILE = "Transpile it first, for example with experiment.transpile(circuit)."
_MEASURE = "Add measurements, for example with circuit.measure_all()."

UNDEFINED = Rule(
    "undefined-gate",
    "a gate that nobody has defined",
    "refuse",
    "real",
    1506,
    "Define the gate, or decompose it. On IBM's service one such job ended as 1506, another as "
    "1603.",
    _undefined,
)
NOT_ISA = Rule(
    "not-isa",
    "a gate, a pair of qubits, a width or an `rzz` angle that the device does not have",
    "refuse",
    "real",
    1517,
    _TRANSPILE,
    _misfits,
)
RZZ_ANGLE = Rule(
    "rzz-angle",
    "arguments of a quantum program that turn `rzz` beyond 0…π/2",
    "refuse",
    "docs",
    1517,
    "Keep the angle in 0…π/2, or fold it into the circuit before: transpile with the bound values.",
    _angles,
)
FAULTY = Rule(
    "faulty",
    "a qubit or a gate that the calibration calls faulty",
    "refuse",
    "client source",
    None,
    "Wait for a calibration that repairs it, or continue with another layout: "
    "experiment.repin(circuit).",
    _faulty,
)
FRACTIONAL = Rule(
    "fractional-gates",
    "fractional gates (`rx`, `rzz`) with gate twirling, PEC, PEA or noise learning (family v2)",
    "refuse",
    "real",
    1519,
    "Transpile without fractional gates (use_fractional_gates=False of the Block), or switch the "
    "option off. Measurement twirling and ZNE by gate folding go with them.",
    _fractional,
)
WIDTH = Rule(
    "observable-width",
    "observables of another width than their circuit",
    "refuse",
    "real",
    1501,
    "Apply the circuit's layout to the observables: observable.apply_layout(circuit.layout).",
)
DYNAMIC = Rule(
    "dynamic-estimator",
    "control flow in a circuit for the Estimator",
    "refuse",
    "real",
    1522,
    "Run the circuit with a Sampler, or leave the control flow out.",
    _dynamic,
)
EXCLUSIVE = Rule(
    "exclusive-options",
    "PEC together with ZNE",
    "refuse",
    "real",
    1521,
    "Switch one of them off.",
    _exclusive,
)
CLIENT = Rule(
    "client",
    "whatever the installed client refuses to send",
    "refuse",
    "client source",
    None,
    "Correct the request as the client's message says.",
)
EXECUTIONS = Rule(
    "executions",
    "a Sampler job of more than 10,000,000 executions",
    "refuse",
    "real",
    1520,
    "Use fewer shots or parameter sets, or several jobs.",
    _executions,
    of_program=True,
)
PROGRAM_EXECUTIONS = Rule(
    "program-executions",
    "as many executions of an Executor program, or of an Estimator of the family executor",
    "warn",
    "guess",
    1520,
    "IBM documents the limit for the Sampler alone. Use fewer shots or items if the job fails.",
    _program_executions,
    of_program=True,
)
MAX_CIRCUITS = Rule(
    "max-experiments",
    "more circuits than the device's `max_experiments`",
    "warn",
    "docs",
    1520,
    "IBM's pages say that this limit is no longer enforced. If the job fails, split it.",
    _many_circuits,
    of_program=True,
)
MEMORY = Rule(
    "memory",
    "300 PUBs or more at resilience level 2 (family v2)",
    "warn",
    "real",
    1336,
    f"{_SPLIT} 300 such PUBs failed, three jobs of 100 ran.",
    _memory,
)
TOO_LARGE = Rule(
    "circuit-size",
    "more than 26.8 million control-system instructions on a qubit, or 30 million `rz`, "
    "20 million `sx` or 5 million two-qubit gates in a circuit",
    "refuse",
    "docs",
    None,
    "Make the circuit shorter.",
    _too_large,
)
TWIRLING_SHOTS = Rule(
    "twirling-shots",
    "more shots than the numbers of the twirling options give (family v2)",
    "warn",
    "docs",
    None,
    "Ask for fewer shots, raise one of these numbers, or leave it at 'auto'.",
    _twirling_shots,
)
NOTHING_MEASURED = Rule(
    "nothing-measured",
    "a quantum program that measures nothing",
    "refuse",
    "client source",
    None,
    _MEASURE,
    _nothing_measured,
)
ITEM_UNMEASURED = Rule(
    "item-measures-nothing",
    "an item of a quantum program that measures nothing",
    "warn",
    "client source",
    None,
    _MEASURE,
    _item_without_measurement,
)

RULES = (
    UNDEFINED,
    NOT_ISA,
    RZZ_ANGLE,
    FAULTY,
    FRACTIONAL,
    WIDTH,
    DYNAMIC,
    EXCLUSIVE,
    TWIRLING_SHOTS,
    TOO_LARGE,
    NOTHING_MEASURED,
    ITEM_UNMEASURED,
    CLIENT,
    EXECUTIONS,
    PROGRAM_EXECUTIONS,
    MAX_CIRCUITS,
    MEMORY,
)
"""All rules about what is asked. Those about money and time are in :mod:`.spending`."""
