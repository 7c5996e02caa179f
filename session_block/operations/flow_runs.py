"""Cancel the experiments of a flow run, or retry the flow run of an experiment."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID

from prefect import get_client
from prefect.blocks.core import Block
from prefect.exceptions import ObjectNotFound
from prefect.states import AwaitingRetry

from session_block import aio, prefect_context
from session_block.blocks.quantum_session import QuantumSession, load_block
from session_block.errors import InvalidInputError, SessionBlockError
from session_block.ledger.store import Ledger
from session_block.records.attempts import seal_completed
from session_block.records.identity import (
    Identity,
    flow_runs_of,
    known_experiments,
    opened_by,
)
from session_block.records.journal import Journal
from session_block.records.keys import AttemptBegan, ExperimentBegan
from session_block.records.sessions import CANCELLED, read_sessions
from session_block.records.stops import RUN_CANCELLED, standing_stop, stop_for_good

if TYPE_CHECKING:
    from prefect import Flow
    from prefect.client.schemas.objects import FlowRun, State


_logger = logging.getLogger(__name__)


def cancel_experiments(
    flow: Flow[..., Any],
    flow_run: FlowRun,
    state: State[Any],
) -> None:
    """Cancel the pending jobs of a cancelled flow run, and close the sessions that it opened.

    Pass it to a flow as ``on_cancellation=[cancel_experiments]``. Prefect calls it in a process of
    its own, so it needs only the ledger and the Block that the flow's parameter ``block`` names. A
    crash or the end of a worker is no cancellation, and closes nothing.

    An experiment of another Block is cancelled with that Block, if it was saved. One that cannot be
    cancelled does not keep the others from it.

    Limits: Prefect calls such hooks on a best-effort basis. A job that began to run finishes. What
    a Block with another ledger opened is not found.

    Args:
        flow: The flow.
        flow_run: The cancelled run.
        state: Its state.

    Raises:
        SessionBlockError: The first reason why an experiment was not cancelled; all are logged.

    Examples:
        >>> from prefect import flow
        >>> @flow(on_cancellation=[cancel_experiments])
        ... def measure(block: str) -> int:
        ...     with load_block(block).experiment() as experiment:
        ...         return experiment.run_sampler([circuit], shots=1000)[0].data.meas.num_shots
        >>> measure("my-session")
        1000
    """
    _logger.info("Flow run %s of %s is %s.", flow_run.name, flow.name, state.name)
    block = _block_given(flow_run.parameters["block"])
    failures = []
    for identity in opened_by(block.ledger(), str(flow_run.id)):
        try:
            cancel_experiment(_block_of(identity, block), identity, RUN_CANCELLED)
        except SessionBlockError as error:
            _logger.warning(
                "Experiment %s was not cancelled, so its session may go on billing: %s",
                identity,
                error,
            )
            failures.append(error)
    if failures:
        raise failures[0]


def _block_given(parameter: Any) -> QuantumSession:
    """Return the Block of a run's stored parameter: its name, a reference, or masked.

    Raises:
        InvalidInputError: There is no such Block, or it is no saved QuantumSession Block.
    """
    match parameter:
        case {"$ref": reference}:
            loaded: Any = aio.answered(Block.load_from_ref(reference))
            return load_block(loaded)
        case {"_block_document_name": str(name)}:
            return load_block(name)
        case _:
            return load_block(parameter)


def _block_of(identity: Identity, block: QuantumSession) -> QuantumSession:
    """Return the saved Block that began an experiment, or else the given one."""
    began = Journal(block.ledger(), identity.uid).get(ExperimentBegan)
    return block if began is None or began.block is None else load_block(began.block)


def cancel_experiment(
    block: QuantumSession, identity: Identity, because: str, *, by_hand: bool = False
) -> bool:
    """Cancel an experiment's pending jobs from outside its run, and close the session it opened.

    The experiment is stopped: nothing more is bought until somebody resumes it.

    Args:
        block: The Block.
        identity: The experiment.
        because: Who cancelled what, as ``its flow run was cancelled in Prefect``.
        by_hand: A person asks for it now; Prefect may tell of a cancelled run late, and again.

    Returns:
        ``True``; or ``False`` for a finished experiment: only its session is closed.

    Raises:
        SessionError: The platform did not close the session; it may go on billing.
        ConnectionFailedError: The platform could not be reached.

    Examples:
        >>> experiment = block.experiment("to-be-cancelled")
        >>> session_id = experiment.open_session()
        >>> cancel_experiment(block, experiment.identity, "Ada cancelled it", by_hand=True)
        True
        >>> experiment.stopped_because
        'Ada cancelled it'
    """
    experiment = block.open(identity)
    if experiment.sealed:
        experiment.close_session()
        return False
    stop_for_good(Journal(block.ledger(), identity.uid), because, anew=by_hand)
    experiment.cancel_session()
    _logger.info("Experiment %s is %s.", identity, CANCELLED)
    return True


def end_with_their_runs(block: QuantumSession) -> list[str]:
    """Close the sessions whose flow runs ended, but whose processes could not close them.

    If a run completed, its experiments are finished; if a person cancelled it, they are cancelled.
    Its process does so itself, unless it is killed first.

    Args:
        block: A Block for the ledger; an experiment of another saved Block is ended with that one.

    Returns:
        The IDs of the closed sessions. One that cannot be closed is logged.

    Examples:
        >>> session_ids = end_with_their_runs(block)
        >>> experiment.session_id in session_ids  # no flow run opened it
        False
    """
    ledger = block.ledger()
    left, runs = {}, {}
    for one in known_experiments(ledger):
        run = _run_that_has_it_open(ledger, one)
        if run is not None and _own_open(Journal(ledger, one.uid)):
            left[one.uid], runs[one.uid] = one, run
    endings = prefect_context.endings_of(list(dict.fromkeys(runs.values())))
    closed = []
    for uid, identity in left.items():
        ending = endings.get(runs[uid])
        if ending not in {"completed", "cancelled"}:
            continue
        session_ids = _own_open(Journal(ledger, uid))
        try:
            own = _block_of(identity, block)
            if ending == "cancelled":
                cancel_experiment(own, identity, RUN_CANCELLED)
            else:
                own.open(identity).close_session()
                seal_completed(identity, Journal(ledger, uid), runs[uid])
        except SessionBlockError as error:
            _logger.warning("The session of experiment %s may still be open: %s", identity, error)
        else:
            closed += session_ids
    return closed


def _run_that_has_it_open(ledger: Ledger, identity: Identity) -> str | None:
    """Return the outermost flow run that opened an experiment last; ``None`` if a script did.

    Whoever opens it later, by its name, must not lose the session because an earlier run ended.
    """
    runs = flow_runs_of(ledger, identity.uid)
    if runs and identity.name.partition(".")[0] == runs[-1]:
        return runs[-1]  # it has no name, so no other run can open it
    attempts = Journal(ledger, identity.uid).all(AttemptBegan)
    return attempts[-1].flow_run_id if attempts else None


def _own_open(journal: Journal) -> list[str]:
    """Return the IDs of the sessions that an experiment opened, and that may be open."""
    return [str(one.session_id) for one in read_sessions(journal) if one.opened and one.usable]


@dataclass(frozen=True)
class RetriedFlowRun:
    """A flow run that was scheduled again.

    Attributes:
        was: The name of its state before.
    """

    flow_run_id: str
    name: str
    was: str


def retry_flow_run(ledger: Ledger, identity: Identity) -> RetriedFlowRun:
    """Schedule again the latest outermost flow run that opened an experiment.

    A worker of its deployment's work pool then continues where it stopped, as after ``prefect
    flow-run retry``.

    Raises:
        InvalidInputError: There is no such run, the server does not know it, it has not ended, it
            is completed, or it has no deployment, so no worker would run it.

    Examples:
        >>> retry_flow_run(ledger, experiment.identity)
        Traceback (most recent call last):
        ...
        session_block.errors.InvalidInputError: ... was not opened by a flow run, ...
    """
    run_ids = flow_runs_of(ledger, identity.uid)
    if not run_ids:
        if standing_stop(Journal(ledger, identity.uid)) is not None:
            raise InvalidInputError(
                f"Experiment {identity} was not opened by a flow run, so there is none to retry, "
                f"and it is stopped. To go on: 'session-block experiments resume {identity.uid}', "
                "and run its program again."
            )
        raise InvalidInputError(
            f"Experiment {identity} was not opened by a flow run, so there is none to retry. Run "
            "its program again: it continues where it stopped."
        )
    run_id = run_ids[-1]
    about = f"Flow run {run_id} of experiment {identity}"
    with get_client(sync_client=True) as client:
        try:
            run = client.read_flow_run(UUID(run_id))
        except ObjectNotFound as error:
            raise InvalidInputError(
                f"{about} is unknown to the Prefect server. Either it was deleted, or "
                "PREFECT_API_URL is the address of another server. To continue in a new run, start "
                f"one with experiment={identity.name!r}."
            ) from error
        state = run.state
        if state is None or not state.is_final():
            raise InvalidInputError(
                f"{about} is {'not started' if state is None else state.name}: only a run that has "
                "ended can be retried. If its worker is gone, set it to Crashed in the Prefect UI "
                "first (Change state)."
            )
        if state.is_completed():
            raise InvalidInputError(
                f"{about} is completed, so there is nothing to retry. To run it again, start "
                "another flow run, with fresh=True if the experiment has a name."
            )
        if run.deployment_id is None:
            raise InvalidInputError(
                f"{about} has no deployment, so no worker would run it. Retry it here: prefect "
                f"flow-run retry {run_id} --entrypoint FILE.py:FLOW"
            )
        client.set_flow_run_state(
            run.id,
            AwaitingRetry(message="Retried by session-block experiments retry."),
            force=True,
        )
    return RetriedFlowRun(run_id, run.name, str(state.name))
