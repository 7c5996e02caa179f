"""Pure: the identity of a samplex, which says how a template circuit's parameters are drawn.

A samplex is a graph of nodes that write and read registers under numbered names. Its inputs have
names that are counted or hashed, and depend on what the process did before
(``basis_changes.basis7``, ``pauli_lindblad_maps.r2feA``). Nobody gave these names, and how a
register is cut and joined depends on them too. So here the nodes are carried out on descriptions:
each element of a register is a vertex, joined to what it is made of. An input is a vertex that
counts by what it makes and by its argument. The graph is told by its vertices' neighbourhoods, in
any order (Weisfeiler and Leman's refinement).

The refinement cannot tell apart some regular graphs that were built for that purpose. In what
samplomatic builds, a vertex leads to a parameter of the template or to a bit of the result.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from graphlib import TopologicalSorter
from typing import TYPE_CHECKING, Any

import numpy as np
from qiskit import qpy

from session_block.errors import InvalidInputError
from session_block.pubs.fingerprint import describe_value, digest

if TYPE_CHECKING:
    from samplomatic import Samplex

_FORM = 4
"""The version of the serialised form that is described. Another one would be another identity."""

_COMMUTING = {"pauli", "z2"}
"""Registers whose elements may be multiplied in any order: a Pauli's phase is not kept."""

_FLIPS = "measurement_flips"

_Edge = tuple[str, int]
"""A role, and the vertex that has it."""


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
    reading = _Reading(expressions)
    reading.add_inputs(json.loads(head["input_specification"]), arguments)
    reading.add_outputs(json.loads(head["output_specification"]), registers)
    for data in _in_turn(form["nodes"], form["links"]):
        reading.carry_out(data)
    return digest(
        {
            "graph": reading.graph.fingerprint(),
            "parameters": [parameter.name for parameter in samplex.parameters],
            "passthrough": _passthrough(head["passthrough_params"], expressions),
            "tables": json.loads(head["lookup_tables"]),
        }
    )


class _Graph:
    """Vertices with contents and edges to earlier vertices. Their numbers do not count."""

    def __init__(self) -> None:
        self._colours: list[str] = []
        self._made_of: list[Sequence[_Edge]] = []
        self._part_of: list[list[_Edge]] = []

    def add(self, content: Any, made_of: Sequence[_Edge] = ()) -> int:
        """Add a vertex and return its number; its content is made of lists, texts and integers."""
        number = len(self._colours)
        self._colours.append(repr(content))
        self._made_of.append(made_of)
        self._part_of.append([])
        for role, other in made_of:
            self._part_of[other].append((role, number))
        return number

    def fingerprint(self) -> str:
        """Refine the vertices' colours by their neighbours' until no more can be told apart."""
        colours, known = list(self._colours), 0
        numbers = range(len(colours))
        while True:
            _refine(colours, self._made_of, numbers)
            _refine(colours, self._part_of, reversed(numbers))
            told_apart = len(set(colours))
            # Each colour holds those of the vertices that are made of it.
            if told_apart in {known, len(colours)}:
                return digest(sorted(colours))
            known = told_apart


def _refine(colours: list[str], edges: Sequence[Sequence[_Edge]], order: Iterable[int]) -> None:
    """Give each vertex a colour by those of its neighbours, which come before it."""
    for number in order:
        near = sorted(f"{role} {colours[other]}" for role, other in edges[number])
        text = "\n".join([colours[number], *near])
        colours[number] = hashlib.sha256(text.encode()).hexdigest()


class _Reading:
    """Carries out the nodes of a samplex on vertices in the place of random elements."""

    def __init__(self, expressions: Sequence[Any]) -> None:
        self.graph = _Graph()
        self._expressions = expressions
        self._named: dict[str, int] = {}
        self._outputs: dict[str, int] = {}
        self._registers: dict[str, list[int]] = {}
        self._steps: Mapping[str, Callable[[Mapping[str, str]], None]] = {
            "N0": self._basis,
            "N1": self._collect_parameters,
            "N2": self._collect_bits,
            "N3": self._combine,
            "N4": self._convert,
            "N5": self._noise,
            "N6": self._multiply,
            "N7": self._multiply,
            "N8": self._pass,
            "N9": self._slice,
            "N10": self._twirl,
            "N11": self._rotate,
            "N12": self._rotate,
            "N13": self._pass,
            "N14": self._draw,
            "N15": self._pass,
        }

    def add_inputs(self, texts: Mapping[str, str], arguments: Mapping[str, str]) -> None:
        """Add the inputs, by their kinds and arguments."""
        for name, text in texts.items():
            specification = json.loads(text)
            shape = specification.get("shape", [specification.get("num_terms")])
            sizes = [
                (f"axis {axis}", self._name(f"size {size}"))
                for axis, size in enumerate(shape)
                if isinstance(size, str)
            ]
            described = digest(_specified(specification))
            content = ["input", name.partition(".")[0], described, arguments.get(name)]
            self._named[name] = self.graph.add(content, sizes)

    def add_outputs(self, texts: Mapping[str, str], registers: Sequence[str]) -> None:
        """Add the outputs; those of a classical register by its place."""
        places = {f"{_FLIPS}.{name}": [_FLIPS, place] for place, name in enumerate(registers)}
        for name, text in texts.items():
            specification = json.loads(text)
            described = {**_specified(specification), "shape": specification["shape"]}
            content = ["output", places.get(name, name), digest(described)]
            self._outputs[name] = self.graph.add(content)

    def carry_out(self, data: Mapping[str, str]) -> None:
        """Carry out one node."""
        if (step := self._steps.get(data["id"])) is None:
            raise InvalidInputError(
                f"A samplex holds a node of a kind, {data['id']}, that this version does not know, "
                "so the request could not be recognised after a restart."
            )
        step(data)

    def _name(self, name: str) -> int:
        """Return the vertex of a name, which has no other content."""
        if name not in self._named:
            self._named[name] = self.graph.add(["name"])
        return self._named[name]

    def _make(self, name: str, source: int, size: int, part: str) -> None:
        """Make a register of a source's elements."""
        self._registers[name] = [
            self.graph.add([part, index], [("source", source)]) for index in range(size)
        ]

    def _basis(self, data: Mapping[str, str]) -> None:
        made_of = [("basis", self._name(data["basis_ref"]))]
        source = self.graph.add(["basis", data["basis_change"]], made_of)
        self._make(data["register_name"], source, int(data["num_subsystems"]), "gate")

    def _noise(self, data: Mapping[str, str]) -> None:
        made_of = [("noise", self._name(f"pauli_lindblad_maps.{data['noise_ref']}"))]
        if modifier := data["modifier_ref"]:
            made_of += [
                (kind, self._name(f"{kind}.{modifier}"))
                for kind in ("noise_scales", "local_scales")
            ]
        source = self.graph.add(["noise"], made_of)
        self._make(data["register_name"], source, int(data["num_subsystems"]), "error")
        self._make(data["sign_register_name"], source, 1, "sign")

    def _twirl(self, data: Mapping[str, str]) -> None:
        source = self.graph.add(["twirl", data["distribution"]])
        size = json.loads(data["distribution"])["num_subsystems"]
        self._make(data["lhs_register_name"], source, size, "before")
        self._make(data["rhs_register_name"], source, size, "after")

    def _draw(self, data: Mapping[str, str]) -> None:
        source = self.graph.add(["draw", data["distribution"]])
        size = json.loads(data["distribution"])["num_subsystems"]
        self._make(data["register_name"], source, size, "drawn")

    def _converted(self, element: int, given: str, wanted: str) -> int:
        return element if given == wanted else self.graph.add(["as", wanted], [("of", element)])

    def _convert(self, data: Mapping[str, str]) -> None:
        self._registers[data["new_name"]] = [
            self._converted(element, data["existing_type"], data["new_type"])
            for element in self._registers[data["existing_name"]]
        ]

    def _slice(self, data: Mapping[str, str]) -> None:
        elements = self._registers[data["input_register_name"]]
        if data["is_slice"] == "true":
            elements = elements[slice(*json.loads(data["slice_idxs"]))]
        else:
            elements = [elements[index] for index in _integers(data["slice_idxs"]).tolist()]
        self._registers[data["output_register_name"]] = [
            self._converted(element, data["input_type"], data["output_type"])
            for element in elements
        ]

    def _combine(self, data: Mapping[str, str]) -> None:
        wanted = data["output_type"]
        factors: defaultdict[int, list[int]] = defaultdict(list)
        for name, (source, destination, kind) in json.loads(data["operands"]).items():
            taken, put = (_integers(one["array"]).tolist() for one in (source, destination))
            for one, other in zip(taken, put, strict=True):
                element = self._converted(self._registers[name][one], kind["type"], wanted)
                factors[other].append(element)
        self._registers[data["output_register_name"]] = [
            self._product(factors[index], wanted)
            for index in range(int(data["num_output_subsystems"]))
        ]

    def _product(self, factors: Sequence[int], kind: str) -> int:
        if len(factors) == 1:
            return factors[0]
        ordered = kind not in _COMMUTING
        return self.graph.add(
            ["product", kind],
            [(f"factor {place * ordered}", factor) for place, factor in enumerate(factors)],
        )

    def _multiply(self, data: Mapping[str, str]) -> None:
        operand = json.loads(data["operand"])
        array = json.loads(operand["array"])
        packed, count = base64.b64decode(array["data"]), array["shape"][0]
        width = len(packed) // count
        elements = self._registers[data["register_name"]]
        for place, element in enumerate(elements):
            # One gate stands for all.
            row = place * width if count > 1 else 0
            gate = [operand["id"], array["dtype"], packed[row : row + width].hex()]
            elements[place] = self.graph.add([data["id"], gate], [("of", element)])

    def _rotate(self, data: Mapping[str, str]) -> None:
        elements = self._registers[data["register_name"]]
        for place, index in enumerate(json.loads(data["param_indices"])):
            content = [data["id"], data["operand"], self._expressions[index]]
            elements[place] = self.graph.add(content, [("of", elements[place])])

    def _pass(self, data: Mapping[str, str]) -> None:
        elements = self._registers[data["register_name"]]
        for places in _integers(data["subsystem_idxs"]).tolist():
            made_of = [(f"at {one}", elements[place]) for one, place in enumerate(places)]
            for one, place in enumerate(places):
                content = [data["id"], data["op_name"], one]
                elements[place] = self.graph.add(content, made_of)

    def _collect_parameters(self, data: Mapping[str, str]) -> None:
        elements = self._registers[data["register_name"]]
        output = ("output", self._outputs[data["template_param_names"]])
        parameters = _integers(data["template_idxs"]).tolist()
        for place, row in zip(_integers(data["subsystem_idxs"]), parameters, strict=True):
            content = ["collect", data["register_type"], data["synth"], row]
            self.graph.add(content, [output, ("of", elements[place])])

    def _collect_bits(self, data: Mapping[str, str]) -> None:
        elements = self._registers[data["register_name"]]
        output = ("output", self._outputs[data["output_name"]])
        bits = _integers(data["output_indices"]).tolist()
        for place, bit in zip(_integers(data["subsystem_indices"]), bits, strict=True):
            self.graph.add(["collect", bit], [output, ("of", elements[place])])


_SAMPLING = {"N0", "N5", "N10", "N14"}
_COLLECTING = {"N1", "N2"}


def _in_turn(
    nodes: Sequence[Mapping[str, Any]], links: Sequence[Mapping[str, Any]]
) -> Iterable[Mapping[str, str]]:
    """Return the nodes in the order in which samplomatic carries them out."""
    data = {node["id"]: node["data"] for node in nodes}
    order: TopologicalSorter[int] = TopologicalSorter(dict.fromkeys(data, ()))
    for link in links:
        order.add(link["target"], link["source"])
    return sorted(
        (data[number] for number in order.static_order()),
        key=lambda one: (one["id"] not in _SAMPLING) + (one["id"] in _COLLECTING),
    )


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


def _integers(text: str) -> np.ndarray[Any, np.dtype[np.int64]]:
    array = json.loads(text)
    return np.frombuffer(base64.b64decode(array["data"]), "<i8").reshape(array["shape"])


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
