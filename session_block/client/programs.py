"""What the client sends for a request, made before anything is recorded or opened for it.

The client's primitives encode a request and send it in one call. Here the call ends before it
sends. So an error of encoding is known before a session is opened or a submission recorded, and
what the client draws at random can be recorded before it is sent.
"""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NoReturn, Self

import numpy as np
from qiskit import QuantumCircuit
from qiskit_ibm_runtime import IBMBackend, RuntimeEncoder, RuntimeJobV2, Session

from session_block.errors import InvalidInputError

_PLACE = ("backend", "instance")


@dataclass(frozen=True)
class Program:
    """A program's inputs and options as the client sends them: all of a job but where, and tags.

    Attributes:
        program_id: The platform's name of the program: ``sampler``, ``estimator``, ``executor``.
        inputs: Its inputs, which the client encodes when it sends them.
        options: The client's runtime options with the user's own tags.
        calibration_id: The backend's calibration to use; ``None`` for the newest.
    """

    program_id: str
    inputs: Mapping[str, Any]
    options: Mapping[str, Any]
    calibration_id: str | None

    @classmethod
    def of(cls, send: Callable[[Session], object], backend: IBMBackend) -> Self:
        """Return what a function would send to a backend; nothing is sent.

        Args:
            send: Runs one of the client's primitives in the mode that it is given.
            backend: The backend.

        Raises:
            InvalidInputError: The client cannot encode it.
        """
        try:
            send(_Unsent(backend))
        except _Made as made:
            return cls(*made.args)
        except Exception as error:
            raise InvalidInputError(
                f"The client cannot make a job of this request: {error}. Nothing was submitted."
            ) from error
        raise AssertionError("a primitive returned without sending anything")

    def send(self, mode: Session | IBMBackend, tags: Sequence[str]) -> RuntimeJobV2:
        """Send it once.

        Args:
            mode: The session or batch, or in job mode the backend.
            tags: The job's tags, in addition to the user's own.
        """
        own = self.options.get("job_tags") or ()
        options = {**self.options, "job_tags": [*own, *tags]}
        return send_program(mode, self.program_id, self.inputs, options, self.calibration_id)

    @property
    def item_sizes(self) -> list[int] | None:
        """How many circuits each item runs, of what the client's Executor encoded; else ``None``.

        An item's shape extends that of its circuit's arguments by broadcasting [client source].
        """
        if "quantum_program" not in self.inputs:
            return None
        sizes = []
        for item in self.inputs["quantum_program"]["items"]:
            arguments = item.get("circuit_arguments")
            implied = () if arguments is None else tuple(arguments["shape"][:-1])
            sizes.append(math.prod(np.broadcast_shapes(tuple(item["shape"]), implied)))
        return sizes

    @property
    def executions(self) -> int | None:
        """How many executions that takes; else ``None``.

        These are its shots times the sizes of its items, those that learn the readout included.
        """
        sizes = self.item_sizes
        return None if sizes is None else int(self.inputs["quantum_program"]["shots"]) * sum(sizes)

    @property
    def item_circuits(self) -> list[QuantumCircuit] | None:
        """The circuit of each item, as the platform reads it; ``None`` for no quantum program."""
        if self.item_sizes is None:
            return None
        # Only this program needs it, and importing it takes a while.
        from qiskit_ibm_runtime.quantum_program.params_converters import (
            QUANTUM_PROGRAM_PARAMS_CONVERTERS,
        )

        converter = QUANTUM_PROGRAM_PARAMS_CONVERTERS[self.inputs["schema_version"]]
        circuits = converter.model.model_validate(self.inputs).quantum_program.circuits
        found: list[QuantumCircuit] = circuits.to_python()
        return found

    @property
    def encoded(self) -> bytes:
        """The inputs as bytes."""
        return zlib.compress(json.dumps(self.inputs, cls=RuntimeEncoder).encode())

    def with_inputs(self, encoded: bytes) -> Self:
        """Return it with the inputs that :attr:`encoded` gave, as the client encoded them."""
        return replace(self, inputs=json.loads(zlib.decompress(encoded)))


def send_program(
    mode: Session | IBMBackend,
    program_id: str,
    inputs: Mapping[str, Any],
    options: Mapping[str, Any],
    calibration_id: str | None = None,
) -> RuntimeJobV2:
    """Send a program once.

    Args:
        mode: The session or batch, or in job mode the backend.
        program_id: The platform's name of the program.
        inputs: Its inputs.
        options: The client's runtime options, without the place.
        calibration_id: The backend's calibration to use; ``None`` for the newest.
    """
    job: dict[str, Any] = {
        "program_id": program_id,
        "inputs": dict(inputs),
        "options": dict(options),
        "calibration_id": calibration_id,
    }
    if isinstance(mode, Session):
        return mode._run(**job)  # noqa: SLF001 - as the client's primitives do
    job["options"] |= {"backend": mode, "instance": mode._instance}  # noqa: SLF001
    return mode.service._run(**job)  # noqa: SLF001


class _Made(BaseException):
    """Ends a primitive's call with what it was about to send; no ``except Exception`` sees it."""


class _Unsent(Session):  # type: ignore[misc]  # untyped
    """A session that the platform does not know, which keeps what it is given to run."""

    def __init__(self, backend: IBMBackend) -> None:
        super().__init__(backend, create_new=False)

    def _run(
        self,
        program_id: str,
        inputs: dict[str, Any],
        options: dict[str, Any] | None = None,
        calibration_id: str | None = None,
        **_: Any,
    ) -> NoReturn:
        kept = {name: one for name, one in (options or {}).items() if name not in _PLACE}
        raise _Made(program_id, inputs, kept, calibration_id)
