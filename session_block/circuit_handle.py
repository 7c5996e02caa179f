"""The inputs of an experiment that a resumed run must find again: circuits and random draws."""

from __future__ import annotations

from collections.abc import Callable
from inspect import isawaitable
from typing import TYPE_CHECKING, Any, overload

from session_block import aio
from session_block.cost_handle import CostHandle
from session_block.pinning import PinnedTranspiler, Pins, record_once, was_drawn

if TYPE_CHECKING:
    from qiskit import QuantumCircuit
    from qiskit.quantum_info import SparsePauliOp


class CircuitHandle(CostHandle):
    """An experiment's records, session and costs, and the inputs that it keeps."""

    def once(self, key: str, draw: Callable[[], Any]) -> Any:
        """Return ``draw()`` of the first time it was asked for, as a JSON value.

        Use it for every random or time-dependent input, so that a resumed run takes the same way.
        A NumPy array comes back as a list.

        Raises:
            InvalidInputError: The drawn value is no JSON value.
        """
        return record_once(self._ledger, self.uid, key, draw)

    async def aonce(self, key: str, draw: Callable[[], Any]) -> Any:
        """Async twin of :meth:`once`; ``draw`` may be asynchronous."""
        if await aio.in_thread(was_drawn, self._ledger, self.uid, key):
            return await aio.in_thread(self.once, key, draw)
        drawn = await aio.in_thread(draw)
        value = await drawn if isawaitable(drawn) else drawn
        return await aio.in_thread(self.once, key, lambda: value)

    @overload
    def transpile(
        self,
        circuit: QuantumCircuit,
        *,
        optimization_level: int | None = ...,
        seed_transpiler: int | None = ...,
    ) -> QuantumCircuit: ...

    @overload
    def transpile(
        self,
        circuit: QuantumCircuit,
        *observables: SparsePauliOp,
        optimization_level: int | None = ...,
        seed_transpiler: int | None = ...,
    ) -> tuple[Any, ...]: ...

    def transpile(
        self,
        circuit: QuantumCircuit,
        *observables: SparsePauliOp,
        optimization_level: int | None = None,
        seed_transpiler: int | None = None,
    ) -> Any:
        """Transpile a circuit for the backend, once: a resumed run gets the very same circuit.

        Args:
            circuit: What to transpile.
            observables: Laid out like the circuit.
            optimization_level: Of Qiskit's preset pass manager; ``None`` for 1.
            seed_transpiler: Of its random choices; ``None`` for 0.

        Returns:
            The ISA circuit; with observables a tuple of it and of them.

        Raises:
            NotISAError: The backend cannot run the circuit, however it is laid out.
        """
        isa_circuit = self._pins.transpiled(circuit, optimization_level, seed_transpiler)
        if not observables:
            return isa_circuit
        return (isa_circuit, *(one.apply_layout(isa_circuit.layout) for one in observables))

    def transpiler(
        self, *, optimization_level: int | None = None, seed_transpiler: int | None = None
    ) -> PinnedTranspiler:
        """Return :meth:`transpile` in the form that algorithms take for a transpiler."""
        return PinnedTranspiler(
            lambda circuit: self._pins.transpiled(circuit, optimization_level, seed_transpiler)
        )

    def fitting(self, circuit: QuantumCircuit) -> QuantumCircuit:
        """Return a circuit that fits the backend as it is, and of any other the pinned one.

        Raises:
            FaultyQubitError: It fitted the backend once, and does not any more.
            NotISAError: The backend cannot run the circuit, however it is laid out.
        """
        return self._pins.fitting(circuit)

    def repin(
        self,
        circuit: QuantumCircuit,
        *,
        optimization_level: int | None = None,
        seed_transpiler: int | None = None,
    ) -> QuantumCircuit:
        """Transpile a circuit anew, for the backend as it is now, and keep that one from now on.

        What is recorded stays recorded: the durable primitives know a request by the circuit that
        they were given, so a resumed run replays what the old ISA circuit gave and submits the new
        one. A run that passes ISA circuits itself asks for something else then, and stops.

        Args:
            circuit: The circuit as it was given to the primitive, or to :meth:`transpile`.
            optimization_level: As it was given to :meth:`transpile`, if it was.
            seed_transpiler: Likewise.

        Raises:
            NotISAError: The backend cannot run the circuit, however it is laid out.
        """
        self._keeper().backend.refresh()
        return self._pins.repin(circuit, optimization_level, seed_transpiler)

    atranspile = aio.async_twin(transpile)
    afitting = aio.async_twin(fitting)
    arepin = aio.async_twin(repin)

    @property
    def _pins(self) -> Pins:
        if self._pins_made is None:
            self._pins_made = Pins(
                self._ledger,
                self.uid,
                lambda: self._keeper().backend,
                lambda: self._keeper().target,
            )
        return self._pins_made

    _pins_made: Pins | None = None
