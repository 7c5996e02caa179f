"""The VQE flow: JSON parameters, and any Block."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from prefect import get_client
from prefect.client.schemas.filters import FlowFilter, FlowFilterName
from prefect.client.schemas.sorting import FlowRunSort
from prefect.exceptions import ParameterTypeError
from pydantic import SecretStr
from support import BACKEND, Platform

from session_block import IBMSessionCredentials, QuantumSession
from session_block.errors import BackendNotFoundError, InvalidInputError
from session_block.flows.vqe import VQEReport, vqe

if TYPE_CHECKING:
    from session_block.blocks.credentials import SessionCredentials

pytestmark = pytest.mark.usefixtures("quick_flows", "prefect_server")

PARAMETERS: dict[str, Any] = {
    "hamiltonian": [["YZ", 0.3980], ["ZI", -0.3980], ["ZZ", -0.0113], ["XX", 0.1810]],
    "ansatz": """
        OPENQASM 3.0;
        include "stdgates.inc";
        input float[64] a; input float[64] b; input float[64] c;
        qubit[2] q;
        ry(a) q[0]; ry(b) q[1]; cx q[0], q[1]; ry(c) q[1];
    """,
    "optimizer": "Nelder-Mead",
    "optimizer_options": {"maxfev": 6},
    "initial_point": [0.1, 0.2, 0.3],
    "shots": 1000,
    "options": {"resilience_level": 0},
}


def _save(name: str, credentials: SessionCredentials, ledger_url: str) -> str:
    QuantumSession(
        credentials=credentials,  # type: ignore[arg-type]
        backend_name=BACKEND,
        max_time="1h",
        ledger_url=ledger_url,  # type: ignore[arg-type]
    ).save(name, overwrite=True)
    return name


def test_only_the_block_differs(platform: Platform, ledger_url: str) -> None:
    """The same flow runs with an IBM account, pointed here, and with the local platform's Block."""
    ibm = IBMSessionCredentials(
        token=SecretStr(platform.info.token),
        instance=platform.info.instance,
        url=platform.info.origin,
    )
    reports: list[VQEReport] = [
        vqe(_save(name, credentials, ledger_url), **PARAMETERS)
        for name, credentials in [("vqe-ibm", ibm), ("vqe-local", platform.credentials())]
    ]
    assert reports[0].session_id != reports[1].session_id
    assert reports[0].evaluations == reports[1].evaluations
    assert reports[0].parameters == reports[1].parameters
    assert len(reports[0].evaluations) == 6


@pytest.mark.rest
def test_a_name_finishes_once(saved_block: str, platform: Platform) -> None:
    """A second run of a finished name gets its report, and ``fresh`` a new experiment."""
    named = {**PARAMETERS, "experiment": "vqe-named"}
    first = vqe(saved_block, **named)
    jobs = platform.stats()["jobs"]["total"]
    assert vqe(saved_block, **named) == first
    assert platform.stats()["jobs"]["total"] == jobs
    again = vqe(saved_block, **named, fresh=True)
    assert again.session_id != first.session_id
    assert platform.stats()["jobs"]["total"] == jobs + 6


@pytest.mark.rest
@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        ({"hamiltonian": [["AB", 1.0]]}, InvalidInputError, "Pauli"),
        ({"hamiltonian": []}, InvalidInputError, "no terms"),
        ({"ansatz": "OPENQASM 3.0; nonsense"}, InvalidInputError, "OpenQASM"),
        ({"ansatz": "no_such_module:f"}, InvalidInputError, "imported"),
        ({"initial_point": [0.1]}, InvalidInputError, "1 values"),
        ({"options": {"no_such_option": 1}}, InvalidInputError, "options"),
        ({"shots": -1}, ParameterTypeError, r"shots.*greater than or equal to 1"),
        ({"optimizer": "cobyla"}, ParameterTypeError, "optimizer.*'COBYLA'"),
        ({"optimizer_options": {"maxiter": 0}}, ParameterTypeError, "maxiter.*equal to 1"),
        ({"options": "{not JSON"}, ParameterTypeError, "options.*Invalid JSON"),
    ],
)
def test_bad_parameters_cost_nothing(
    saved_block: str,
    platform: Platform,
    wrong: dict[str, Any],
    error: type[Exception],
    message: str,
) -> None:
    """What cannot be read fails the flow run before a session is opened."""
    sessions = platform.sessions()
    with pytest.raises(error, match=message):
        vqe(saved_block, **{**PARAMETERS, **wrong})
    assert platform.sessions() == sessions


def test_an_unknown_backend_or_block_costs_nothing(platform: Platform, ledger_url: str) -> None:
    """Names that nobody knows are said to be unknown, with what to do."""
    sessions = platform.sessions()
    block = QuantumSession(
        credentials=platform.credentials(),
        backend_name="ibm_nowhere",
        ledger_url=ledger_url,  # type: ignore[arg-type]
    )
    block.save("vqe-nowhere", overwrite=True)
    with pytest.raises(BackendNotFoundError, match=r"ibm_nowhere.*backend_name"):
        vqe("vqe-nowhere", **PARAMETERS)
    with pytest.raises(InvalidInputError, match="no QuantumSession Block 'never-saved'"):
        vqe("never-saved", **PARAMETERS)
    assert platform.sessions() == sessions


@pytest.mark.rest
def test_a_block_is_stored_as_its_name(platform: Platform, ledger_url: str) -> None:
    """A saved Block is taken; no run stores what a retry could not use, nor any secret."""
    ibm = IBMSessionCredentials(
        token=SecretStr(platform.info.token),
        instance=platform.info.instance,
        url=platform.info.origin,
    )
    block = QuantumSession.load(_save("vqe-given", ibm, ledger_url))
    assert isinstance(block, QuantumSession)
    reference = {"$ref": {"block_document_id": str(block._block_document_id)}}
    given = {
        "a-block": block,
        "a-name-with-type": "quantum-session/vqe-given",
        "a-reference": reference,
    }
    for name, one in given.items():
        report = vqe.with_options(retries=1)(one, **PARAMETERS, experiment=name)
        assert len(report.evaluations) == 6
    with get_client(sync_client=True) as client:
        runs = client.read_flow_runs(
            flow_filter=FlowFilter(name=FlowFilterName(any_=["vqe"])),
            sort=FlowRunSort.START_TIME_DESC,
            limit=3,
        )
        stored = [run.parameters["block"] for run in reversed(runs)]
        assert stored == ["vqe-given", "vqe-given", reference]
        known = len(client.read_flow_runs())
        block.max_jobs = 1
        for refused, why in ((block, "was changed"), (ibm, "A IBMSessionCredentials was given")):
            with pytest.raises(InvalidInputError, match=why):
                vqe(refused, **PARAMETERS)  # type: ignore[arg-type]
        assert len(client.read_flow_runs()) == known
    with pytest.raises(ParameterTypeError, match="A dict was given for a Block"):
        vqe({"backend_name": BACKEND}, **PARAMETERS)  # type: ignore[arg-type]
