"""Pure: the identity of a samplex, which says how a template circuit's parameters are drawn.

A samplex is a graph. Its nodes are numbered and pass on registers under numbered names. Its inputs
have names that are counted or hashed, and depend on what the process did before
(``basis_changes.basis7``, ``pauli_lindblad_maps.r2feA``). Nobody gave these names, so here a name
is a vertex that counts only by what it connects, and an input by the argument bound to it. The
graph is told by its vertices' neighbourhoods, in any order (Weisfeiler and Leman's refinement).

The refinement cannot tell apart some regular graphs that were built for that purpose. In what
samplomatic builds, each node leads to a collector, and each collector has parameters of its own.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from qiskit import qpy

from session_block.errors import InvalidInputError
from session_block.pubs.fingerprint import describe_value, digest

if TYPE_CHECKING:
    from samplomatic import Samplex

_FORM = 4
"""The version of the serialised form that is described. Another one would be another identity."""

_REGISTERS = {
    "register_name",
    "sign_register_name",
    "lhs_register_name",
    "rhs_register_name",
    "input_register_name",
    "output_register_name",
    "existing_name",
    "new_name",
}
_INPUTS = {
    "basis_ref": ("",),
    "noise_ref": ("pauli_lindblad_maps.",),
    "modifier_ref": ("noise_scales.", "local_scales."),
}
"""A node's references, and what stands before them in the names of inputs."""

_OUTPUTS = {"output_name", "template_param_names"}
_COMMUTING = {"pauli", "z2"}
"""Registers whose elements may be multiplied in any order: a Pauli's phase is not kept."""

_FLIPS = "measurement_flips"

_Vertex = tuple[str, Any]


def fingerprint_samplex(
    samplex: Samplex, arguments: Mapping[str, str], registers: Sequence[str]
) -> str:
    """Return the fingerprint of a samplex and its arguments, as 64 hexadecimal digits.

    Args:
        samplex: The samplex.
        arguments: The digests of the arguments by the names of the samplex's inputs.
        registers: The names of the template's classical registers, which count by their places.

    Raises:
        InvalidInputError: The samplex holds a node that cannot be sent.
    """
    from samplomatic.exceptions import SerializationError
    from samplomatic.serialization import samplex_to_json

    try:
        form = json.loads(samplex_to_json(samplex, ssv=_FORM))
    except SerializationError as error:
        raise InvalidInputError(f"A samplex cannot be serialised, so not sent: {error}") from error
    head = form["attrs"]
    expressions = _expressions(head["param_table"])
    graph = _Graph()
    _add_inputs(graph, json.loads(head["input_specification"]), arguments)
    _add_outputs(graph, json.loads(head["output_specification"]), registers)
    for node in form["nodes"]:
        _add_node(graph, ("node", node["id"]), node["data"], expressions)
    for link in form["links"]:
        graph.join(("node", link["source"]), "before", ("node", link["target"]))
    return digest(
        {
            "graph": graph.fingerprint(),
            "parameters": [parameter.name for parameter in samplex.parameters],
            "passthrough": _passthrough(head["passthrough_params"], expressions),
            "tables": json.loads(head["lookup_tables"]),
        }
    )


class _Graph:
    """Vertices with contents and labelled edges. What a vertex is called does not count."""

    def __init__(self) -> None:
        self._contents: dict[_Vertex, Any] = {}
        self._edges: defaultdict[_Vertex, list[tuple[str, _Vertex]]] = defaultdict(list)

    def add(self, vertex: _Vertex, content: Any) -> None:
        """Add a vertex."""
        self._contents[vertex] = content

    def join(self, one: _Vertex, label: str, other: _Vertex) -> None:
        """Join two vertices; those not yet known have no content."""
        for vertex in (one, other):
            self._contents.setdefault(vertex, None)
        self._edges[one].append((f">{label}", other))
        self._edges[other].append((f"<{label}", one))

    def fingerprint(self) -> str:
        """Refine the vertices' colours by their neighbours' until no more can be told apart."""
        colours = {vertex: digest(content) for vertex, content in self._contents.items()}
        while True:
            known = len(set(colours.values()))
            colours = {
                vertex: _colour(
                    colour, [f"{label} {colours[other]}" for label, other in self._edges[vertex]]
                )
                for vertex, colour in colours.items()
            }
            if len(set(colours.values())) == known:
                return digest(sorted(colours.values()))


def _colour(own: str, neighbours: list[str]) -> str:
    return hashlib.sha256("\n".join([own, *sorted(neighbours)]).encode()).hexdigest()


def _add_inputs(graph: _Graph, texts: Mapping[str, str], arguments: Mapping[str, str]) -> None:
    for name, text in texts.items():
        vertex = ("input", name)
        specification = json.loads(text)
        dimensions = [
            (axis, size)
            for axis, size in enumerate(specification.get("shape", ()))
            if isinstance(size, str)
        ]
        if "num_terms" in specification:
            dimensions.append((0, specification["num_terms"]))
        described = _specified(specification)
        described["argument"] = arguments.get(name)
        graph.add(vertex, [name.partition(".")[0], described])
        for axis, dimension in dimensions:
            graph.join(vertex, f"axis {axis}", ("dimension", dimension))


def _add_outputs(graph: _Graph, texts: Mapping[str, str], registers: Sequence[str]) -> None:
    places = {f"{_FLIPS}.{name}": [_FLIPS, place] for place, name in enumerate(registers)}
    for name, text in texts.items():
        specification = json.loads(text)
        described = {**_specified(specification), "shape": specification["shape"]}
        graph.add(("output", name), [places.get(name, name), described])


def _specified(specification: Mapping[str, Any]) -> dict[str, Any]:
    """Return what counts of an input or output: neither names nor words about it."""
    described = {
        key: value
        for key, value in specification.items()
        if key not in {"name", "description", "num_terms"}
    }
    if "shape" in described:
        described["shape"] = [
            None if isinstance(size, str) else size for size in described["shape"]
        ]
    return described


def _add_node(
    graph: _Graph, vertex: _Vertex, data: Mapping[str, Any], expressions: Sequence[Any]
) -> None:
    content: dict[str, Any] = {}
    for key, value in data.items():
        if key in _REGISTERS:
            graph.join(vertex, key, ("register", value))
        elif key in _OUTPUTS:
            graph.join(vertex, key, ("output", value))
        elif key in _INPUTS:
            for prefix in _INPUTS[key] if value else ():
                graph.join(vertex, f"{key} {prefix}", ("input", f"{prefix}{value}"))
        elif key == "operands":
            _add_operands(graph, vertex, json.loads(value), data["output_type"])
        elif key == "param_indices":
            content[key] = [expressions[index] for index in json.loads(value)]
        else:
            content[key] = value
    graph.add(vertex, content)


def _add_operands(
    graph: _Graph, vertex: _Vertex, operands: Mapping[str, Any], output_type: str
) -> None:
    """Join a node with the registers that it multiplies, in an order where the order counts.

    Those at different places may come in any order, so an operand counts by the number of those
    that must come before it.
    """
    steps: defaultdict[int, int] = defaultdict(int)
    for name, (source, destination, kind) in operands.items():
        at = _integers(destination["array"])
        step = 0
        if output_type not in _COMMUTING:
            step = max(steps[index] for index in at) + 1
            steps.update(dict.fromkeys(at, step))
        taken = sorted(zip(at, _integers(source["array"]), strict=True))
        graph.join(vertex, f"operand {digest([step, taken, kind['type']])}", ("register", name))


def _integers(text: str) -> list[int]:
    integers: list[int] = np.frombuffer(base64.b64decode(json.loads(text)["data"]), "<i8").tolist()
    return integers


def _expressions(text: str) -> list[Any]:
    """Return descriptions of a samplex's expressions of parameters, which it holds as a circuit."""
    packed = base64.b64decode(json.loads(text)["circuit_base64"])
    (circuit,) = qpy.load(io.BytesIO(packed))
    return [describe_value(instruction.params[0]) for instruction in circuit.data]


def _passthrough(text: str, expressions: Sequence[Any]) -> list[list[Any]]:
    """Return which of the template's parameters have which expressions, by parameters."""
    if text == "None":
        return []
    return sorted(
        ([place, expressions[index]] for place, index in zip(*json.loads(text), strict=True)),
        key=lambda one: one[0],
    )
