"""Names of classical registers, which are the keys of a Sampler's result.

Qiskit numbers the registers that nobody named through the whole process. So the circuit that was
sent may have other names than the equal circuit with which a resumed run asks. Their registers then
match by position.
"""

from __future__ import annotations

from collections.abc import Sequence

from qiskit.primitives.containers import DataBin, PrimitiveResult, SamplerPubResult
from qiskit.primitives.containers.estimator_pub import EstimatorPub
from qiskit.primitives.containers.sampler_pub import SamplerPub

from session_block.errors import LedgerError
from session_block.pubs.fingerprint import is_numbered
from session_block.references import RegisterNames


def numbered_names(
    pubs: Sequence[SamplerPub] | Sequence[EstimatorPub],
) -> list[list[str]] | None:
    """Return the names of the registers; ``None`` if an equal request has the same ones.

    Args:
        pubs: The coerced PUBs. The names of an Estimator's registers are in no result.
    """
    if not all(isinstance(pub, SamplerPub) for pub in pubs):
        return None
    names = [[register.name for register in pub.circuit.cregs] for pub in pubs]
    return names if any(map(is_numbered, (name for one in names for name in one))) else None


def with_names(
    result: PrimitiveResult, asked: RegisterNames | None, sent: RegisterNames | None
) -> PrimitiveResult:
    """Return a result with the names that the asking run knows.

    Args:
        result: A Sampler's result, or any if ``asked`` is ``None``.
        asked: The names of the asking run's registers; ``None`` to change nothing.
        sent: The names of the registers that were sent. ``None`` if the ledger lost them: the order
            of the result's data is taken for the circuit's order. [guess; the local platform and
            the client's executor primitives keep it]

    Raises:
        LedgerError: The registers of the result are not those that were sent.
    """
    if asked is None or asked == sent:
        return result
    known = [_names_in(*each) for each in zip(result, asked, strict=True)] if sent is None else sent
    renamed = [_renamed(*each) for each in zip(result, known, asked, strict=True)]
    return PrimitiveResult(renamed, metadata=result.metadata)


def _names_in(result: SamplerPubResult, asked: Sequence[str]) -> Sequence[str]:
    """Return the names that were probably sent, judged by the result and the names that ask."""
    return asked if set(asked) == set(result.data) else list(result.data)


def _renamed(
    result: SamplerPubResult, known: Sequence[str], asked: Sequence[str]
) -> SamplerPubResult:
    if not set(result.data) <= set(known) or len(known) != len(asked):
        raise LedgerError(
            f"A result has the registers {', '.join(result.data)}, but the circuit that was sent "
            f"had {', '.join(known)}, and the circuit that asks has {', '.join(asked)}, so its "
            "registers cannot be told apart. Name them: ClassicalRegister(2, 'name'). The result "
            "as it came is in Experiment.load(name).result(submission)."
        )
    names = dict(zip(known, asked, strict=True))
    fields = {names[name]: values for name, values in result.data.items()}
    data = DataBin(**fields, shape=result.data.shape)
    return SamplerPubResult(data, metadata=result.metadata)
