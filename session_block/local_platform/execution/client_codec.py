"""All uses of the non-public parts of qiskit-ibm-runtime.

The client's own decoder defines the wire format of an executor program, and its local simulator
defines the meaning. Checked with version 0.51.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from string import digits
from typing import TYPE_CHECKING, Any

import numpy as np
from ibm_quantum_schemas.common import CompressedTensorModel, F64TensorModel
from ibm_quantum_schemas.executor.version_2_0.models import (
    ItemMetadataModel,
    MetadataModel,
    QuantumProgramResultItemModel,
    QuantumProgramResultModel,
)
from ibm_quantum_schemas.noise_learner_v2 import version_0_1 as noise_learner_v2
from ibm_quantum_schemas.noise_learner_v3 import version_0_1, version_0_2, version_0_3
from qiskit.circuit import CircuitInstruction, ParameterExpression, QuantumCircuit
from qiskit.primitives.containers.bindings_array import BindingsArray
from qiskit.primitives.containers.sampler_pub import SamplerPub
from qiskit.quantum_info import PauliLindbladMap, QubitSparsePauliList
from qiskit_ibm_runtime import RuntimeDecoder, RuntimeEncoder
from qiskit_ibm_runtime.fake_provider.executor.broadcast_sample import broadcast_sample
from qiskit_ibm_runtime.fake_provider.executor.run_quantum_program import run_quantum_program
from qiskit_ibm_runtime.noise_learner_v3.params_converters import (
    NOISE_LEARNER_V3_PARAMS_CONVERTERS,
)
from qiskit_ibm_runtime.options_models.simulator import SimulatorOptions
from qiskit_ibm_runtime.quantum_program import QuantumProgram
from qiskit_ibm_runtime.quantum_program.params_converters import QUANTUM_PROGRAM_PARAMS_CONVERTERS
from qiskit_ibm_runtime.results.noise_learner import LayerError, PauliLindbladError
from qiskit_ibm_runtime.utils.utils import is_valid_rzz_pub
from samplomatic.quantum_program import SamplexItem

from session_block.local_platform.execution.seeding import content_seed

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from qiskit.circuit import Instruction
    from qiskit.primitives.containers import DataBin
    from qiskit.primitives.containers.estimator_pub import EstimatorPub
    from qiskit_ibm_runtime import QiskitRuntimeService

    from session_block.local_platform.execution.layers import Layer
    from session_block.local_platform.execution.learning import Model
    from session_block.local_platform.execution.simulator import Simulator

EXECUTOR_SCHEMA = "v2.0"
_FLIPS = "measurement_flips."
_INJECTED = ("pauli_lindblad_maps", "noise_scales", "local_scales")
_ESTIMATOR = "estimator_v2"


_LEARNER_SCHEMAS: dict[str, Any] = {
    "v0.1": version_0_1,
    "v0.2": version_0_2,
    "v0.3": version_0_3,
}


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


def why_angles_are_invalid(pub: SamplerPub | EstimatorPub) -> str:
    """Return which angle of an ``rzz`` gate no device has, or an empty text."""
    return str(is_valid_rzz_pub(pub))


def why_rzz_is_invalid(gate: Instruction) -> str:
    """Return why no device has an ``rzz`` gate of this angle; empty for a parameter's angle."""
    if isinstance(gate.params[0], ParameterExpression):
        return ""
    circuit = QuantumCircuit(2)
    circuit.append(gate, (0, 1))
    return why_angles_are_invalid(SamplerPub(circuit))


def decode_params(text: str) -> Any:
    """Return the parameters of a sampler or estimator job as Python objects."""
    return json.loads(text, cls=RuntimeDecoder)


def encode_result(result: Any) -> str:
    """Return a PrimitiveResult as the text that the client decodes."""
    return json.dumps(result, cls=RuntimeEncoder)


@dataclass(frozen=True)
class LearnerRequest:
    """A decoded noise learner job: version 2 of the program has circuits, version 3 instructions.

    Attributes:
        schema: The version of the parameters and the result, such as ``v0.3``; None in version 2.
        options: All options, with IBM's default values.
    """

    schema: str | None
    circuits: tuple[QuantumCircuit, ...]
    instructions: tuple[CircuitInstruction, ...]
    options: dict[str, Any]


def decode_learner(text: str) -> LearnerRequest:
    """Return the parameters of a noise learner job.

    Raises:
        ValueError: The schema version is unknown, an option is, or the circuits are text.
    """
    raw = json.loads(text)
    if "instructions" not in raw:
        params = decode_params(text)
        given = noise_learner_v2.OptionsModel.model_validate(raw.get("options") or {})
        if not all(isinstance(circuit, QuantumCircuit) for circuit in params["circuits"]):
            raise ValueError("a noise learner takes circuits, not text or PUBs")
        return LearnerRequest(None, tuple(params["circuits"]), (), given.model_dump())
    schema = raw.get("schema_version")
    if schema not in _LEARNER_SCHEMAS:
        known = ", ".join(_LEARNER_SCHEMAS)
        raise ValueError(f"noise learner schema {schema!r} is not supported, only {known}")
    converter = NOISE_LEARNER_V3_PARAMS_CONVERTERS[schema]
    model = converter.model.model_validate(raw)
    instructions, _ = converter.decoder(model)
    return LearnerRequest(schema, (), tuple(instructions), model.options.model_dump())


def encode_layer_errors(
    layers: Sequence[Layer], models: Sequence[Model], options: Mapping[str, Any], backend: str
) -> str:
    """Return the result of version 2 of the noise learner as the text that the client decodes."""
    errors = []
    for layer, model in zip(layers, models, strict=True):
        generators = [one for group in model.generators for one in group]
        rates = [
            rate for group, rate in zip(model.generators, model.rates, strict=True) for _ in group
        ]
        sparse = QubitSparsePauliList.from_sparse_list(generators, model.num_qubits)
        error = PauliLindbladError(sparse.to_pauli_list(), rates)
        errors.append(LayerError(layer.circuit(), list(layer.qubits), error))
    shown = noise_learner_v2.InputOptionsModel.model_validate(options).model_dump()
    return encode_result({"data": errors, "metadata": {"backend": backend, "input_options": shown}})


def encode_models(
    schema: str, models: Sequence[Model], measured: Sequence[bool], depths: Sequence[int]
) -> str:
    """Return the result of version 3 of the noise learner as the text that the client decodes.

    Args:
        schema: The schema version of the request.
        models: A model for each instruction.
        measured: For each instruction, whether its model is one of measurements.
        depths: The depths that the options ask for, in pairs of layers.
    """
    version = _LEARNER_SCHEMAS[schema]
    # No shot is discarded, and without bit-flip checks no qubit has a success rate (a guess).
    trex = {
        "learning_protocol": "trex",
        "post_selection": {"fraction_kept": 1.0, "success_rates": {}},
    }
    lindblad = {
        "learning_protocol": "lindblad",
        "post_selection": {
            "fraction_kept": dict.fromkeys(depths, 1.0),
            "success_rates": {depth: {} for depth in depths},
        },
    }
    data = [
        version.NoiseLearnerV3ResultModel(
            generators_sparse=[list(group) for group in model.generators],
            num_qubits=model.num_qubits,
            rates=F64TensorModel.from_numpy(np.array(model.rates)),
            rates_std=F64TensorModel.from_numpy(np.zeros(len(model.rates))),
            metadata=trex if is_measured else lindblad,
        )
        for model, is_measured in zip(models, measured, strict=True)
    ]
    return str(version.NoiseLearnerV3ResultsModel(data=data).model_dump_json())


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
    item: ProgramItem, circuit: QuantumCircuit, simulator: Simulator, *, shots: int, seed: int
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
        if noise := _injected_noise(named):
            arguments["injected noise"] = noise
    return ProgramItem(item.circuit, arguments, tuple(item.shape), item)


def _injected_noise(named: Mapping[str, Any]) -> list[int]:
    """Return a number for the content of each noise map and of the scales with its name.

    The names are hashes of boxes. They are left out, because a hash is longer if the client's
    process has used its beginning for another box.
    """
    noise = defaultdict[str, dict[str, Any]](dict)
    for name in named:
        kind, _, reference = name.partition(".")
        if kind in _INJECTED:
            value = named[name]
            is_map = isinstance(value, PauliLindbladMap)
            noise[reference][kind] = value.to_sparse_list() if is_map else value
    return sorted(content_seed(values) for values in noise.values())


def _numbered_anew(named: Mapping[str, Any]) -> dict[str, Any]:
    """Return values whose numbered names begin at 0; they stay in the order of their numbers.

    Injected noise is left out.
    """
    stems = defaultdict[str, list[tuple[int, str]]](list)
    for name in named:
        if name.partition(".")[0] in _INJECTED:
            continue
        stem = name.rstrip(digits)
        stems[stem].append((int(name[len(stem) :] or -1), name))
    return {
        stem if number < 0 else f"{stem}{rank}": named[name]
        for stem, names in stems.items()
        for rank, (number, name) in enumerate(sorted(names))
    }
