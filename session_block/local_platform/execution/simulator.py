"""Aer's simulator, whose failed runs are errors.

Before version 0.18.2 Aer's sampler takes a run that failed for one without measurements, and so
does Qiskit's own sampler for backends.
"""

from __future__ import annotations

from typing import Any

from qiskit_aer import AerError, AerSimulator


class Simulator(AerSimulator):  # type: ignore[misc]  # Aer is untyped
    """A simulator with one thread, so that equal runs have equal results.

    Args:
        method: Aer's simulation method.
        num_qubits: How many qubits a circuit may have, whatever the method's own limit; ``None``
            leaves that limit.
        options: Aer's other options.
    """

    def __init__(self, method: str, num_qubits: int | None = None, **options: Any) -> None:
        super().__init__(method=method, max_parallel_threads=1, **options)
        if num_qubits is not None:
            self.set_max_qubits(num_qubits)

    def run(self, *circuits: Any, **options: Any) -> Any:
        """Run circuits, and return Aer's job, which has ended.

        Raises:
            AerError: One of them could not be run.
        """
        job = super().run(*circuits, **options)
        result = job.result()
        if not result.success:
            raise AerError(f"simulation failed: {result.status}")
        return job
