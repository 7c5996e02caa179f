"""Run a deployment, and see from anywhere what its run has found so far.

Only Prefect's server is asked: the ledger may be on a machine that this one cannot reach.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from prefect import get_client
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    ArtifactFilterKey,
)
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.sorting import ArtifactSort
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError

from session_block.errors import InvalidInputError
from session_block.reporting.results_table import BEST, KEY_PREFIX, RESULT, Row

_REFUSED = (409, 422)
"""What Prefect's server answers to parameters that do not fit."""


@dataclass(frozen=True)
class ExperimentResults:
    """What one experiment of a flow run has found, as its table in the Prefect UI says.

    Attributes:
        uid: The experiment's UID.
        about: What the table is called.
        rows: The table; see :data:`session_block.reporting.results_table.Row`.
    """

    uid: str
    about: str
    rows: tuple[Row, ...]

    @property
    def best(self) -> Row | None:
        """The outcome, or while there is none the best evaluation."""
        marked = [one for one in self.rows if _evaluation(one) == RESULT]
        marked += [one for one in self.rows if _evaluation(one).endswith(BEST)]
        return marked[0] if marked else None

    @property
    def latest(self) -> Row | None:
        """The newest evaluation."""
        numbered = [one for one in self.rows if _evaluation(one) != RESULT]
        return max(numbered, key=_number, default=None)


@dataclass(frozen=True)
class RunSeen:
    """A flow run, as Prefect's server shows it now.

    Attributes:
        flow_run_id: Its ID.
        name: Its name.
        state: The name of its state.
        message: What the state says, or ``None``.
        work_pool: The work pool whose workers may take it, or ``None``.
        has_begun: Whether it runs, or has run.
        is_over: Whether the run has ended.
        is_completed: Whether it has ended well.
        experiments: What its experiments have found.
    """

    flow_run_id: str
    name: str
    state: str
    message: str | None
    work_pool: str | None
    has_begun: bool
    is_over: bool
    is_completed: bool
    experiments: tuple[ExperimentResults, ...]

    def described(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "flow_run_id": self.flow_run_id,
            "name": self.name,
            "state": self.state,
            "message": self.message,
            "experiments": [
                {
                    "uid": one.uid,
                    "best": one.best,
                    "latest": one.latest,
                    "rows": list(one.rows),
                }
                for one in self.experiments
            ],
        }


def run_deployment(deployment: str, parameters: Mapping[str, Any]) -> str:
    """Schedule a run of a deployment now, and return the flow run's ID.

    Args:
        deployment: Its name, ``FLOW/DEPLOYMENT``, as ``vqe/h2-nightly``.
        parameters: The parameters that are not to be the deployment's own.

    Raises:
        InvalidInputError: There is no such deployment, or the parameters do not fit its flow.
    """
    with get_client(sync_client=True) as client:
        try:
            found = client.read_deployment_by_name(deployment)
        except (ObjectNotFound, ValueError) as error:
            raise InvalidInputError(
                f"The Prefect server has no deployment {deployment!r}. 'prefect deployment ls' "
                "shows those that it has; a name is FLOW/DEPLOYMENT."
            ) from error
        try:
            run = client.create_flow_run_from_deployment(found.id, parameters=dict(parameters))
        except PrefectHTTPStatusError as error:
            if error.response.status_code not in _REFUSED:
                raise
            raise InvalidInputError(
                f"Deployment {deployment!r} does not take these parameters: "
                f"{_told(error)}. Nothing was started."
            ) from error
    return str(run.id)


def look_at_run(flow_run_id: str) -> RunSeen:
    """Return how a flow run stands, and what its experiments have found so far.

    Raises:
        InvalidInputError: The Prefect server knows no such flow run.
    """
    try:
        run_id = UUID(flow_run_id)
    except ValueError as error:
        raise InvalidInputError(
            f"{flow_run_id!r} is no ID of a flow run. 'prefect flow-run ls' shows them."
        ) from error
    with get_client(sync_client=True) as client:
        try:
            run = client.read_flow_run(run_id)
        except ObjectNotFound as error:
            raise InvalidInputError(
                f"The Prefect server knows no flow run {flow_run_id}. 'prefect flow-run ls' shows "
                "those that it knows."
            ) from error
        return _seen(run, _tables(client, run_id))


def _seen(run: FlowRun, experiments: tuple[ExperimentResults, ...]) -> RunSeen:
    state = run.state
    return RunSeen(
        flow_run_id=str(run.id),
        name=run.name,
        state="not scheduled" if state is None else str(state.name),
        message=None if state is None else state.message,
        work_pool=run.work_pool_name,
        has_begun=state is not None and not (state.is_scheduled() or state.is_pending()),
        is_over=state is not None and state.is_final(),
        is_completed=state is not None and state.is_completed(),
        experiments=experiments,
    )


def _tables(client: SyncPrefectClient, run_id: UUID) -> tuple[ExperimentResults, ...]:
    """Return the newest table of each experiment of a flow run, in the order of their making."""
    only = ArtifactFilter(
        flow_run_id=ArtifactFilterFlowRunId(any_=[run_id]),
        key=ArtifactFilterKey(like_=f"{KEY_PREFIX}%"),
    )
    newest: dict[str, ExperimentResults] = {}
    made = client.read_artifacts(artifact_filter=only, sort=ArtifactSort.CREATED_DESC)
    for one in reversed(made):  # a retry of the run makes a table anew
        uid = str(one.key).removeprefix(KEY_PREFIX)
        rows: list[Row] = json.loads(one.data) if isinstance(one.data, str) else []
        newest[uid] = ExperimentResults(uid, one.description or "", tuple(rows))
    return tuple(newest.values())


def _evaluation(row: Row) -> str:
    return str(row["evaluation"])


def _number(row: Row) -> int:
    return int(_evaluation(row).removesuffix(BEST))


def _told(error: PrefectHTTPStatusError) -> str:
    """Return the server's own words; they are about parameters, so no secret is in them."""
    try:
        said = error.response.json()
    except ValueError:
        return str(error.response.status_code)
    return str(said.get("detail", said)) if isinstance(said, dict) else str(said)
