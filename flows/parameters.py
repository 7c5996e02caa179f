"""Types of the flows' parameters: what Prefect draws forms of, and checks before a run begins.

A union is a row of tabs in the form, and a title is the label of its tab. The label of a parameter
is its name, and its description what the flow's docstring says of it.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, Json, WithJsonSchema

Text = Annotated[str, Field(min_length=1, title="Text")]
Name = Annotated[str, Field(min_length=1, title="Name")]
Number = Annotated[float, Field(gt=0, allow_inf_nan=False, title="Number")]
Count = Annotated[int, Field(ge=1, title="Number")]

ThisFlowRun = Annotated[None, Field(title="This flow run")]
"""No name: the experiment is the flow run, and its retries go on with it."""

Unseeded = Annotated[None, Field(title="Drawn")]
"""No seed: a new one is drawn, and recorded."""

ClientDefault = Annotated[None, Field(title="Default")]
"""Whatever the client does when it is told nothing."""

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
"""The client's own options, as JSON text, for which the form has an editor, or as an object."""

Terms = Annotated[list[tuple[str, FiniteFloat]], Field(title="Pauli terms")]
"""Pairs of a Pauli label, whose rightmost letter is qubit 0, and a real coefficient."""

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
"""SPSA, differential evolution, and what ``scipy.optimize.minimize`` has that needs no Hessian. The
library, :func:`session_block.algorithms.vqe.run_vqe`, takes whatever SciPy takes."""


class OptimizerOptions(BaseModel):
    """Options of an optimiser: any of the method's own, of which the form has a field for one."""

    model_config = ConfigDict(frozen=True, extra="allow")

    maxiter: Count | Annotated[None, Field(title="The method's")] = Field(
        None,
        title="maxiter",
        description="Most iterations; COBYLA counts evaluations, and TNC has maxfun instead.",
    )

    def given(self) -> dict[str, Any]:
        """Return those that are given, as the optimiser takes them."""
        return {name: value for name, value in self.model_dump().items() if value is not None}


METHODS_OWN = OptimizerOptions()
"""No options: those that the method has by itself."""
