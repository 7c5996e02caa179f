"""All uses of the non-public parts of qiskit-ibm-runtime.

The client's own decoder defines the wire format of an executor program, and its local simulator
defines the meaning. Checked with version 0.51.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from string import digits
from typing import TYPE_CHECKING, Any

import numpy as np
from ibm_quantum_schemas.common import CompressedTensorModel
from ibm_quantum_schemas.executor.version_2_0.models import (
    ItemMetadataModel,
    MetadataModel,
    QuantumProgramResultItemModel,
    QuantumProgramResultModel,
)
from qiskit.primitives.containers.bindings_array import BindingsArray
from qiskit.primitives.containers.sampler_pub import SamplerPub
from qiskit_ibm_runtime import RuntimeDecoder, RuntimeEncoder
from qiskit_ibm_runtime.fake_provider.executor.broadcast_sample import broadcast_sample
from qiskit_ibm_runtime.fake_provider.executor.run_quantum_program import run_quantum_program
from qiskit_ibm_runtime.options_models.simulator import SimulatorOptions
from qiskit_ibm_runtime.quantum_program import QuantumProgram
from qiskit_ibm_runtime.quantum_program.params_converters import QUANTUM_PROGRAM_PARAMS_CONVERTERS
from samplomatic.quantum_program import SamplexItem

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from qiskit.circuit import QuantumCircuit
    from qiskit.primitives.containers import DataBin
    from qiskit_aer import AerSimulator
    from qiskit_ibm_runtime import QiskitRuntimeService

EXECUTOR_SCHEMA = "v2.0"
_FLIPS = "measurement_flips."
_ESTIMATOR = "estimator_v2"


@dataclass(frozen=True)
class ProgramItem:
    """One item of an executor program. Its circuit may be replaced by an equivalent one.

    Attributes:
        arguments: What its circuit or its samplex is given, without names that the client's process
            counts up, such as ``basis_changes.basis7``.
    """

    circuit: QuantumCircuit
    arguments: dict[str, Any]
    shape: tuple[int, ...]
    source: Any


@dataclass(frozen=True)
class ExecutorProgram:
    """A decoded executor program, with the fields that its result must echo."""

    shots: int
    items: tuple[ProgramItem, ...]
    passthrough: Any
    semantic_role: str | None

    @property
    def estimates(self) -> bool:
        """Whether the client makes expectation values of its bits."""
        return self.semantic_role == _ESTIMATOR


def connect_later_alike(
    service: QiskitRuntimeService, connecting: Callable[[], AbstractContextManager[None]]
) -> None:
    """Make a service open its later connections (to other instances) inside ``connecting`` too.

    The service opens them when needed, and each one reads the address for access tokens from the
    environment again. They cannot be opened in advance: no public method does so without sending
    requests, and the service would then search for jobs in all these instances.
    """
    connect = service._create_new_cloud_api_client  # noqa: SLF001

    def connect_alike(instance: str) -> Any:
        with connecting():
            return connect(instance)

    service._create_new_cloud_api_client = connect_alike  # noqa: SLF001


def decode_params(text: str) -> Any:
    """Return the parameters of a sampler or estimator job as Python objects."""
    return json.loads(text, cls=RuntimeDecoder)


def encode_result(result: Any) -> str:
    """Return a PrimitiveResult as the text that the client decodes."""
    return json.dumps(result, cls=RuntimeEncoder)


def decode_program(text: str) -> ExecutorProgram:
    """Return the program of an executor job.

    Raises:
        ValueError: The platform does not support the schema version or the measurement level.
    """
    params = json.loads(text)
    version = params.get("schema_version")
    if version != EXECUTOR_SCHEMA:
        raise ValueError(f"executor schema {version!r} is not supported, only {EXECUTOR_SCHEMA}")
    converter = QUANTUM_PROGRAM_PARAMS_CONVERTERS[EXECUTOR_SCHEMA]
    model = converter.model(**params)
    program, _ = converter.decoder(model)
    if program.meas_level != "classified":
        raise ValueError(f"measurement level {program.meas_level!r} is not simulated")
    return ExecutorProgram(
        shots=program.shots,
        items=tuple(_item(item) for item in program.items),
        passthrough=model.quantum_program.passthrough_data,
        semantic_role=model.quantum_program.semantic_role,
    )


def executor_options(text: str) -> dict[str, Any]:
    """Return the options of an executor job, unchanged from its JSON."""
    return dict(json.loads(text).get("options") or {})


def simulate_item(
    item: ProgramItem, circuit: QuantumCircuit, simulator: AerSimulator, *, shots: int, seed: int
) -> dict[str, Any]:
    """Run one item with ``circuit`` in place of its own. Return its arrays by name."""
    item.source.circuit = circuit
    program = QuantumProgram(shots=shots, items=[item.source])
    options = SimulatorOptions(seed_simulator=seed)
    result = run_quantum_program(simulator, program, options)
    return dict(result[0].items())


@dataclass(frozen=True)
class Randomized:
    """What an item's own random choices add to its samples.

    Attributes:
        flips: By register, which measured bits are flipped, and flipped back by the client; an
            array of shape ``(*item's shape, 1, bits)``.
        points: The item's shape with 1 for each axis of randomisations: these are equal but for
            the random choices.
    """

    flips: dict[str, np.ndarray[Any, Any]]
    points: tuple[int, ...]


def sample_item(
    item: ProgramItem,
    circuit: QuantumCircuit,
    *,
    shots: int,
    seed: int,
    sample: Callable[[SamplerPub, Randomized], DataBin],
) -> dict[str, Any]:
    """Run one item on a sampler with ``circuit`` in place of its own. Return its arrays by name.

    Args:
        item: The item.
        circuit: The circuit to run.
        shots: Number of shots.
        seed: Seed of the item's own random choices.
        sample: Runs a PUB, and returns arrays of bits by register.
    """
    source, points = item.source, item.shape
    if isinstance(source, SamplexItem):
        rng = np.random.default_rng(seed)
        arrays = broadcast_sample(source.samplex, source.samplex_arguments, source.shape, rng)
        values = arrays.pop("parameter_values")
        varied = tuple(source.samplex_arguments.shape)
        points = (1,) * (len(points) - len(varied)) + varied
    else:
        arrays, values = {}, source.circuit_arguments
    bindings = None if values is None else BindingsArray({tuple(circuit.parameters): values})
    flips = {
        name.removeprefix(_FLIPS): array
        for name, array in arrays.items()
        if name.startswith(_FLIPS)
    }
    bits = sample(SamplerPub(circuit, bindings, shots), Randomized(flips, points))
    return {**arrays, **{name: data.to_bool_array("little") for name, data in bits.items()}}


def encode_program_result(program: ExecutorProgram, data: list[dict[str, Any]]) -> str:
    """Return the arrays of all items as the text that the client decodes."""
    items = [
        QuantumProgramResultItemModel(
            results={name: CompressedTensorModel.from_numpy(array) for name, array in item.items()},
            metadata=ItemMetadataModel(),
        )
        for item in data
    ]
    model = QuantumProgramResultModel(
        data=items,
        metadata=MetadataModel(chunk_timing=[]),
        passthrough_data=program.passthrough,
        semantic_role=program.semantic_role,
    )
    return str(model.model_dump_json())


def _item(item: Any) -> ProgramItem:
    samplex = getattr(item, "samplex", None)
    if samplex is None:
        arguments = {"circuit_arguments": item.circuit_arguments}
    else:
        samplex.finalize()
        given = item.samplex_arguments
        named = {spec.name: given[spec.name] for spec in given.specs if spec.name in given}
        arguments = _numbered_anew(named)
    return ProgramItem(item.circuit, arguments, tuple(item.shape), item)


def _numbered_anew(named: Mapping[str, Any]) -> dict[str, Any]:
    """Return values whose numbered names begin at 0; they stay in the order of their numbers."""
    stems = defaultdict[str, list[tuple[int, str]]](list)
    for name in named:
        stem = name.rstrip(digits)
        stems[stem].append((int(name[len(stem) :] or -1), name))
    return {
        stem if number < 0 else f"{stem}{rank}": named[name]
        for stem, names in stems.items()
        for rank, (number, name) in enumerate(sorted(names))
    }
