"""Inputs that a resumed run must not make again: random draws and transpiled circuits."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from pydantic_core import to_jsonable_python
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter
from qiskit.transpiler import Target, TranspilerError
from qiskit.transpiler.preset_passmanagers import generate_preset_pass_manager
from qiskit_ibm_runtime.exceptions import IBMInputValueError
from qiskit_ibm_runtime.utils.validations import validate_isa_circuits

from session_block.errors import FaultyQubitError, InvalidInputError, LedgerError, NotISAError
from session_block.pubs.encoding import decode_circuit, encode_circuit
from session_block.pubs.fingerprint import CIRCUIT_FINGERPRINTS
from session_block.records.context import ExperimentContext
from session_block.records.keys import CircuitFits, Draw, PinnedCircuit, ProblemStated
from session_block.sessions.manager import SessionManager

OPTIMIZATION_LEVEL = 1
SEED = 0


class RecordedInputs:
    """Records inputs that an experiment must not make twice: random draws and transpiled circuits.

    The transpiler's output changes with the backend's calibration, from day to day, and with the
    versions of Qiskit and of this package. A resumed run needs the circuit that it began with.

    Args:
        context: The experiment; circuits are recorded as QPY.
        sessions: Gives the backend to transpile for.
    """

    def __init__(self, context: ExperimentContext, sessions: SessionManager) -> None:
        self._context = context
        self._journal = context.journal
        self._sessions = sessions
        self._fingerprint = CIRCUIT_FINGERPRINTS[context.versions.fingerprint]
        self._transpiled: dict[str, QuantumCircuit] = {}
        self._substitutes: dict[str, QuantumCircuit | None] = {}
        self._checked: dict[str, Target] = {}

    def once(self, key: str, draw: Callable[[], Any]) -> Any:
        """Return the JSON value that the first ``draw()`` under this key gave.

        Raises:
            InvalidInputError: The drawn value is not a JSON value.
        """
        place = Draw.digest_of(key)
        known = self._journal.get(Draw, place)
        if known is None:
            value = draw()
            value = value.tolist() if isinstance(value, np.ndarray | np.generic) else value
            try:
                json.dumps(value, allow_nan=False)
            except (TypeError, ValueError) as error:
                raise InvalidInputError(
                    f"once({key!r}) drew a {type(value).__qualname__}, which is not a JSON value "
                    f"({error}). Draw numbers, text, lists or dicts of these, or a NumPy array.",
                    experiment=self._context.uid,
                ) from error
            known, _ = self._journal.record(Draw(digest=place, key=key, value=value))
        return known.value

    def require_problem(self, problem: Any) -> None:
        """Record what the experiment is about, or check that it is what was recorded.

        Raises:
            InvalidInputError: It is not a JSON value, or another problem is recorded.
        """
        try:
            stated = to_jsonable_python(problem, fallback=_listed)
            json.dumps(stated, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise InvalidInputError(
                f"The problem of experiment {self._context.identity} is no JSON value ({error}). "
                "State it with numbers, text, lists and dicts.",
                experiment=self._context.uid,
            ) from error
        known = self._journal.get(ProblemStated)
        if known is None:
            if self._context.sealed:  # by a version that recorded no problem
                return
            known, _ = self._journal.record(ProblemStated(problem=stated))
        if known.problem != stated:
            raise InvalidInputError(
                f"Experiment {self._context.identity} is about another problem: "
                f"{_differing(known.problem, stated)}. Nothing was submitted. Use another name, or "
                f"start a new experiment {self._context.identity.anew}.",
                experiment=self._context.uid,
            )

    def was_drawn(self, key: str) -> bool:
        """Whether a value is recorded under this key of :meth:`once`."""
        return self._journal.has(Draw, Draw.digest_of(key))

    def transpiled(
        self,
        circuit: QuantumCircuit,
        optimization_level: int | None = None,
        seed_transpiler: int | None = None,
    ) -> QuantumCircuit:
        """Return the pinned ISA circuit of a circuit; transpile it now if there is none yet.

        It has the parameter objects of ``circuit``, because callers may use them to bind values.

        Raises:
            NotISAError: The circuit cannot be transpiled for the backend.
        """
        key = self._key(circuit, optimization_level, seed_transpiler)
        if key not in self._transpiled:
            known = self._numbers(key)
            self._transpiled[key] = (
                self._read(key, known[-1])
                if known
                else self._pin(key, 1, circuit, optimization_level, seed_transpiler)
            )
        return _with_parameters_of(circuit, self._transpiled[key])

    def fitting(self, circuit: QuantumCircuit) -> QuantumCircuit:
        """Return a circuit unchanged if it fits the backend, otherwise its pinned ISA circuit.

        The choice is recorded and kept, even if the backend changes.

        Raises:
            FaultyQubitError: The circuit fitted the backend once, but no longer does.
            NotISAError: The circuit cannot be transpiled for the backend.
        """
        key = self._key(circuit)
        if key not in self._substitutes:
            self._substitutes[key] = self._substitute(key, circuit)
        substitute = self._substitutes[key]
        found = circuit if substitute is None else substitute
        self._check(key, found, circuit.name)
        return found

    def repin(
        self,
        circuit: QuantumCircuit,
        optimization_level: int | None = None,
        seed_transpiler: int | None = None,
    ) -> QuantumCircuit:
        """Transpile a circuit again, for the backend as it is now; later jobs run the new circuit.

        Raises:
            NotISAError: The circuit cannot be transpiled for the backend.
        """
        self._sessions.backend.refresh()
        key = self._key(circuit, optimization_level, seed_transpiler)
        number = max(self._numbers(key), default=1) + 1
        pinned = self._pin(key, number, circuit, optimization_level, seed_transpiler)
        self._transpiled[key] = self._substitutes[key] = pinned
        return _with_parameters_of(circuit, pinned)

    def _substitute(self, key: str, circuit: QuantumCircuit) -> QuantumCircuit | None:
        """Return the ISA circuit to run instead; ``None`` to run the circuit itself."""
        known = self._numbers(key)
        if known and known[-1] > 1:
            return self._read(key, known[-1])
        if self._journal.has(CircuitFits, key):
            return None
        if not known and self._fits(circuit):
            self._journal.record(CircuitFits(circuit=key, name=circuit.name))
            return None
        return self.transpiled(circuit)

    def _check(self, key: str, circuit: QuantumCircuit, name: str) -> None:
        """Check that a circuit that once fitted the backend still does."""
        target = self._sessions.target
        if self._checked.get(key) is target:
            return
        try:
            validate_isa_circuits([circuit], target)
        except IBMInputValueError as error:
            raise FaultyQubitError(
                f"Circuit {name!r} of experiment {self._context.identity} was laid out for "
                f"{self._sessions.backend.name}, which has since lost what it needs: "
                f"{error.message} Nothing was submitted. Wait for a calibration that repairs it, "
                "or continue with another layout: experiment.repin(circuit).",
                experiment=self._context.uid,
            ) from error
        self._checked[key] = target

    def _fits(self, circuit: QuantumCircuit) -> bool:
        try:
            validate_isa_circuits([circuit], self._sessions.target)
        except IBMInputValueError:
            return False
        return True

    def _numbers(self, key: str) -> list[int]:
        """Return the numbers of a circuit's pins: 1 for the first, higher ones from ``repin``."""
        return sorted(one.pin for one in self._journal.all(PinnedCircuit, key))

    def _read(self, key: str, number: int) -> QuantumCircuit:
        pinned = self._journal.get(PinnedCircuit, key, number)
        if pinned is None or pinned.payload is None:
            raise LedgerError(
                f"The ledger lost the pinned circuit {PinnedCircuit.prefix(key, number)} of "
                f"experiment {self._context.identity}. Restore the ledger from its backup.",
                experiment=self._context.uid,
            )
        return decode_circuit(pinned.payload)

    def _pin(
        self,
        key: str,
        number: int,
        circuit: QuantumCircuit,
        optimization_level: int | None,
        seed_transpiler: int | None,
    ) -> QuantumCircuit:
        device = self._sessions.backend
        level, seed = _or(optimization_level, OPTIMIZATION_LEVEL), _or(seed_transpiler, SEED)
        passes = generate_preset_pass_manager(level, device, seed_transpiler=seed)
        try:
            isa_circuit = passes.run(circuit)
        except TranspilerError as error:
            raise NotISAError(
                f"Circuit {circuit.name!r} cannot be transpiled for {device.name}: "
                f"{error.message} Nothing was submitted.",
                experiment=self._context.uid,
            ) from error
        self._journal.record(
            PinnedCircuit(
                circuit=key,
                pin=number,
                name=circuit.name,
                backend=device.name,
                optimization_level=level,
                seed_transpiler=seed,
            ),
            encode_circuit(isa_circuit),
        )
        pinned = self._read(key, number)
        # So that a user who passes the ISA circuit itself gets an error once it no longer fits.
        self._journal.record(CircuitFits(circuit=self._key(pinned), name=circuit.name))
        return pinned

    def _key(
        self,
        circuit: QuantumCircuit,
        optimization_level: int | None = None,
        seed_transpiler: int | None = None,
    ) -> str:
        # The arguments as given, with None for a default: a later version may change the defaults.
        identity = f"{self._fingerprint(circuit)}/{optimization_level}/{seed_transpiler}"
        return hashlib.sha256(identity.encode()).hexdigest()[:32]


class PinnedTranspiler:
    """A transpiler for algorithms: each circuit is transpiled once and pinned.

    Args:
        transpile: Transpiles one circuit.

    Examples:
        >>> transpiler = experiment.transpiler(optimization_level=2)
        >>> transpiler.run(bell_pair) == transpiler.run(bell_pair)
        True
    """

    def __init__(self, transpile: Callable[[QuantumCircuit], QuantumCircuit]) -> None:
        self._transpile = transpile

    def run(self, circuits: QuantumCircuit | Sequence[QuantumCircuit], **options: Any) -> Any:
        """Return the ISA circuit of a circuit, or a list of ISA circuits for a sequence.

        Raises:
            InvalidInputError: Options were given; they belong in ``experiment.transpiler()``.

        Examples:
            >>> transpiler = experiment.transpiler()
            >>> [one.num_qubits for one in transpiler.run([bell_pair, bell_pair])]
            [5, 5]
        """
        if options:
            raise InvalidInputError(
                f"The pinned transpiler takes no options ({', '.join(options)}). Give "
                "optimization_level and seed_transpiler to experiment.transpiler()."
            )
        if isinstance(circuits, QuantumCircuit):
            return self._transpile(circuits)
        return [self._transpile(circuit) for circuit in circuits]


def _with_parameters_of(circuit: QuantumCircuit, pinned: QuantumCircuit) -> QuantumCircuit:
    """Return a pinned circuit with the caller's parameters in place of its own of the same names.

    The run that pinned the circuit does this too, so that both runs get the same expressions.
    """
    namesakes = {parameter.name: parameter for parameter in circuit.parameters}
    own = list(pinned.parameters)
    # In two steps, because Qiskit never allows two parameters with one name in a circuit.
    meanwhile = {parameter: Parameter(f"pinned {parameter.name}") for parameter in own}
    found = pinned.assign_parameters(meanwhile).assign_parameters(
        {meanwhile[parameter]: namesakes[parameter.name] for parameter in own}
    )
    found.name = pinned.name
    return found


def _listed(value: Any) -> Any:
    """Return a NumPy value as numbers or lists."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    raise TypeError(f"a {type(value).__qualname__}")


def _differing(known: Any, stated: Any) -> str:
    """Name what differs between two problems."""
    if not isinstance(known, Mapping) or not isinstance(stated, Mapping):
        return "all of it differs"
    names = [name for name in {**known, **stated} if known.get(name) != stated.get(name)]
    return f"{', '.join(names)} {'differs' if len(names) == 1 else 'differ'}"


def _or(given: int | None, usual: int) -> int:
    return usual if given is None else given
