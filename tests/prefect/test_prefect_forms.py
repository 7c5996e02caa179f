"""The flows' parameters as Prefect's forms show them, and what the server refuses of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import yaml
from prefect import Flow, get_client
from prefect.client.orchestration import SyncPrefectClient
from prefect.exceptions import PrefectHTTPStatusError
from prefect.utilities.callables import parameter_schema
from prefect_helpers import CHECKOUT
from scipy.optimize._minimize import MINIMIZE_METHODS
from shipped_flows import FLOWS

from session_block.algorithms.optimizers import Optimizer
from session_block.flows.parameters import OptimizerName, OptimizerOptions

pytestmark = pytest.mark.rest

DEPLOYMENTS = yaml.safe_load((CHECKOUT / "deployments" / "prefect.yaml").read_text())["deployments"]
DEPLOYED = {one["entrypoint"].rpartition(".")[2]: one["parameters"] for one in DEPLOYMENTS}

START = np.array([0.1])


def _schema(flow: Flow[..., Any]) -> dict[str, Any]:
    return parameter_schema(flow).model_dump_for_openapi()


def _fields(schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield all fields of a form, also those of its nested forms."""
    yield from schema["properties"].items()
    for name, definition in schema.get("definitions", {}).items():
        yield from ((f"{name}.{key}", field) for key, field in definition["properties"].items())


@pytest.mark.parametrize("flow", FLOWS.values(), ids=FLOWS)
def test_every_field_is_typed_and_described(flow: Flow[..., Any]) -> None:
    """Each field of a form has a type, a label and a description without markup."""
    for name, field in _fields(_schema(flow)):
        assert {"type", "anyOf", "$ref"} & set(field), name
        assert "`" not in field["description"], name
        if "$ref" not in field:
            assert field["title"], name


@pytest.mark.parametrize("flow", FLOWS.values(), ids=FLOWS)
def test_the_tabs_of_a_field_are_told_apart(flow: Flow[..., Any]) -> None:
    """The form shows a union as tabs, and cannot show two with one label or of one kind of list."""
    definitions = _schema(flow).get("definitions", {})
    for name, field in _fields(_schema(flow)):
        options = [
            definitions[one["$ref"].rpartition("/")[2]] if "$ref" in one else one
            for one in field.get("anyOf", [])
        ]
        labels = [option.get("title", option["type"]) for option in options]
        assert len(set(labels)) == len(labels), name
        assert [option["type"] for option in options].count("array") <= 1, name
        assert "anyOf" not in field.get("items", {}), name


@pytest.mark.parametrize("flow", FLOWS.values(), ids=FLOWS)
def test_objects_have_fields_or_an_editor(flow: Flow[..., Any]) -> None:
    """The form shows nothing for an object without fields: beside one there is JSON text."""
    for name, field in _schema(flow)["properties"].items():
        options = field.get("anyOf", [field])
        if any(one.get("additionalProperties") is True for one in options):
            assert {"type": "string", "format": "json-string", "title": "JSON"} in options, name


def _minimizes(method: str) -> bool:
    found = Optimizer(method, {}).minimize(lambda points: (points**2).sum(axis=1), START)
    return bool(found.success)


def test_the_methods_are_scipys() -> None:
    """Each method of the form works, and each of SciPy's that is missing needs a Hessian."""
    named = OptimizerName.__args__
    assert all(_minimizes(method) for method in named)
    for missing in set(MINIMIZE_METHODS) - {name.lower() for name in named}:
        with pytest.raises(ValueError, match=r"Jacobian|Hessian"):
            _minimizes(missing)


def test_options_of_a_method_are_as_given() -> None:
    """Whatever is given is passed on, and what the form leaves empty is not."""
    assert OptimizerOptions.model_validate({"maxiter": None}).given() == {}
    given = {"maxiter": 3, "rhobeg": 0.5}
    assert OptimizerOptions.model_validate(given).given() == given


@pytest.fixture(scope="module")
def client(prefect_server: str) -> Iterator[SyncPrefectClient]:  # noqa: ARG001 - it talks to it
    """A client of the tests' server."""
    with get_client(sync_client=True) as client:
        yield client


def _run(client: SyncPrefectClient, name: str, **parameters: Any) -> dict[str, Any]:
    """Create a run as the form does, and return its parameters."""
    deployment = client.create_deployment(
        client.create_flow(FLOWS[name]),
        f"t-form-{name}",
        parameters=DEPLOYED[name],
        parameter_openapi_schema=_schema(FLOWS[name]),
        enforce_parameter_schema=True,
    )
    return client.create_flow_run_from_deployment(deployment, parameters=parameters).parameters


@pytest.mark.parametrize(
    ("flow", "parameters"),
    [
        ("vqe", {"hamiltonian": [["ZZ", 0.5]], "options": json.dumps({"seed_estimator": 1})}),
        ("vqe", {"hamiltonian": "ising-4", "shots": 100, "options": {"seed_estimator": 1}}),
        ("vqe", {"optimizer": "SPSA", "optimizer_options": {"maxiter": 5, "a": 0.1}}),
        ("qaoa", {"problem": {"edges": [[0, 1], [1, 2, 0.5]]}, "optimizer": None}),
        ("qaoa", {"problem": {"fields": [[0, 1.0]]}, "initial_point": [0.1, 0.2]}),
        ("sweep", {"grid": {"points": [{"theta": 0.0}]}, "observables": None}),
        ("sweep", {"limits": {"max_points": 2}}),
    ],
)
def test_the_form_takes_what_the_flow_takes(
    client: SyncPrefectClient, flow: str, parameters: dict[str, Any]
) -> None:
    """What a form sends passes the server's check, and the flow's."""
    FLOWS[flow].validate_parameters(_run(client, flow, **parameters))


@pytest.mark.parametrize(
    ("flow", "parameters", "reason"),
    [
        ("vqe", {"shots": 0}, r"'shots'.*0 is less than the minimum of 1"),
        ("vqe", {"restarts": 0}, r"'restarts'.*0 is less than the minimum of 1"),
        ("vqe", {"resilience_level": 3}, r"'resilience_level'.*3 is greater than the maximum of 2"),
        ("vqe", {"precision": 0}, r"'precision'.*less than or equal to the minimum of 0"),
        ("vqe", {"optimizer": "no such"}, r"'optimizer'.*'no such' is not one of \['COBYLA'"),
        ("vqe", {"optimizer_options": {"maxiter": 0}}, r"maxiter.*0 is less than the minimum"),
        ("vqe", {"hamiltonian": [["ZZ"]]}, r"'hamiltonian\[0\]'.*is too short"),
        ("vqe", {"block": ""}, r"'block'"),
        ("qaoa", {"alpha": 1.5}, r"'alpha'.*1.5 is greater than the maximum of 1"),
        ("qaoa", {"problem": {"edges": [[0, 1, 2, 3]]}}, r"edges.*is too long"),
        ("sweep", {"jobs_ahead": 0}, r"'jobs_ahead'.*0 is less than the minimum of 1"),
        ("sweep", {"limits": {"max_pubs": 0}}, r"max_pubs.*0 is less than the minimum of 1"),
    ],
)
def test_the_server_says_what_is_wrong(
    client: SyncPrefectClient, flow: str, parameters: dict[str, Any], reason: str
) -> None:
    """A value out of bounds is refused before there is a run, and named with its bound."""
    with pytest.raises(PrefectHTTPStatusError, match=f"Validation failed for field.*{reason}"):
        _run(client, flow, **parameters)
