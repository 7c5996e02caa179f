"""Types of the flows' parameters. Prefect draws forms from them, and checks them before a run.

In the form a union is a row of tabs, with the titles as labels. A parameter's label is its name;
its description comes from the flow's docstring.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    FiniteFloat,
    Json,
    WithJsonSchema,
)

from session_block.blocks.quantum_session import block_name

Text = Annotated[str, Field(min_length=1, title="Text")]
Name = Annotated[str, Field(min_length=1, title="Name")]
BlockName = Annotated[str, Field(min_length=1, title="Name"), BeforeValidator(block_name)]
"""The name of a saved QuantumSession Block; see :func:`session_block.flows.blocks.takes_block`."""

Number = Annotated[float, Field(gt=0, allow_inf_nan=False, title="Number")]
Count = Annotated[int, Field(ge=1, title="Number")]

ThisFlowRun = Annotated[None, Field(title="This flow run")]
"""No name: the experiment belongs to the flow run, and its retries resume it."""

Unseeded = Annotated[None, Field(title="Drawn")]
"""No seed: one is drawn and recorded."""

ClientDefault = Annotated[None, Field(title="Default")]
"""The client's default."""

Seed = Annotated[int, Field(ge=0, title="Number")] | Unseeded
Shots = Count | ClientDefault
Precision = Number | ClientDefault
ExperimentName = Name | ThisFlowRun

Options = (
    Annotated[
        Json[dict[str, Any]],
        WithJsonSchema({"type": "string", "format": "json-string", "title": "JSON"}),
    ]
    | Annotated[dict[str, Any], Field(title="Object")]
    | ClientDefault
)
"""The client's own options, as JSON text (the form has an editor for it) or as an object."""

Terms = Annotated[list[tuple[str, FiniteFloat]], Field(title="Pauli terms")]
"""Pairs of a Pauli label (rightmost letter is qubit 0) and a real coefficient."""

Angles = Annotated[list[FiniteFloat], Field(min_length=1, title="Values")]

OptimizerName = Literal[
    "COBYLA",
    "SPSA",
    "differential-evolution",
    "Nelder-Mead",
    "Powell",
    "CG",
    "BFGS",
    "Newton-CG",
    "L-BFGS-B",
    "TNC",
    "COBYQA",
    "SLSQP",
    "trust-constr",
]
"""SPSA, differential evolution, and ``scipy.optimize.minimize``'s methods that need no Hessian. The
library's :func:`session_block.algorithms.vqe.run_vqe` takes whatever SciPy takes."""


class OptimizerOptions(BaseModel):
    """Options of an optimiser. Any option is allowed; the form has a field for maxiter."""

    model_config = ConfigDict(frozen=True, extra="allow")

    maxiter: Count | Annotated[None, Field(title="The method's")] = Field(
        None,
        title="maxiter",
        description="Most iterations. COBYLA counts evaluations; TNC has maxfun instead.",
    )

    def given(self) -> dict[str, Any]:
        """Return the options that were given, by name."""
        return {name: value for name, value in self.model_dump().items() if value is not None}


METHODS_OWN = OptimizerOptions()
"""No options: the method's defaults."""


class SweepCircuit(BaseModel):
    """A circuit of a sweep."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Name = Field(title="name", description="What the report calls it.")
    circuit: Text = Field(
        title="circuit",
        description=(
            "OpenQASM 3 whose input variables are the parameters, or module:function for a "
            "function that returns a QuantumCircuit."
        ),
    )


class SweepObservable(BaseModel):
    """An observable of a sweep."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Name = Field(title="name", description="What the report calls it.")
    observable: Terms | Annotated[Text, Field(title="Name or function")] = Field(
        title="observable",
        description=(
            "Pairs of a Pauli label (rightmost letter is qubit 0) and a coefficient, or "
            "module:function for a function that returns a SparsePauliOp."
        ),
    )
