"""Check circuits in files against a Block's backend, before anything is opened or recorded."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from session_block.client import BackendChoice, Connection
from session_block.errors import InvalidInputError
from session_block.experiments.check_request import check_request
from session_block.prechecks.checking import findings_of
from session_block.prechecks.findings import CheckFinding
from session_block.prechecks.subject import Device
from session_block.references import Implementation

if TYPE_CHECKING:
    from qiskit import QuantumCircuit

_QPY = b"QISKIT"


@dataclass(frozen=True)
class CheckedFile:
    """What was found in a file; findings number its circuits from 0."""

    backend: str
    kind: str
    circuits: int
    findings: list[CheckFinding]

    @property
    def refused(self) -> bool:
        """Whether a submission would be refused."""
        return any(one.severity == "refuse" for one in self.findings)


def read_circuits(path: Path) -> list[QuantumCircuit]:
    """Return the circuits of a QPY file, or the one of an OpenQASM 3 program.

    Raises:
        InvalidInputError: The file is neither, or cannot be read.
    """
    from qiskit import qasm3, qpy

    try:
        content = path.read_bytes()
    except OSError as error:
        raise InvalidInputError(f"{path} cannot be read: {error.strerror}.") from error
    try:
        if content.startswith(_QPY):
            return list(qpy.load(BytesIO(content)))
        return [qasm3.loads(content.decode())]
    except Exception as error:  # the parsers raise what they like
        raise InvalidInputError(
            f"{path} holds neither an OpenQASM 3 program nor circuits in QPY: {error}"
        ) from error


def check_circuits(
    circuits: list[QuantumCircuit],
    connection: Connection,
    choice: BackendChoice,
    implementation: Implementation,
    *,
    observables: list[str] | None = None,
    **asked: Any,
) -> CheckedFile:
    """Check circuits as PUBs of one request.

    Args:
        circuits: The circuits.
        connection: The connection to the instance.
        choice: The backend, which must fit.
        implementation: The family of primitives.
        observables: Pauli strings; if there are any, the Estimator would run the circuits, else the
            Sampler.
        asked: ``shots``, ``precision`` or ``options`` of the request.

    Raises:
        BackendNotFoundError: The instance has no such backend.
        ConnectionFailedError: The platform does not answer.
    """
    kind = "estimator" if observables else "sampler"
    pubs = [(one, observables) for one in circuits] if observables else circuits
    draft = check_request(pubs, kind=kind, implementation=implementation, **asked)  # type: ignore[arg-type]
    found = list(draft.findings)
    if draft.request is not None:
        backends = connection.backends
        device = Device(backends.get(choice), backends.target(choice))
        found += draft.renumbered(findings_of(draft.request, device))
    return CheckedFile(choice.name, kind, len(circuits), found)
