"""Forecast the charge of a request's job by the model of its family."""

from __future__ import annotations

import logging
from collections.abc import Hashable

from qiskit_ibm_runtime import IBMBackend

from session_block.client import Connection, Program
from session_block.costs import executor_model, v2_model
from session_block.costs.counting import resilience_level, work_of
from session_block.costs.work import Forecast, Work
from session_block.ledger.store import Ledger
from session_block.pubs.request import Request
from session_block.records.charges import JobKind, charges_of

_logger = logging.getLogger(__name__)


class Forecaster:
    """Forecasts the jobs of one experiment.

    Args:
        ledger: Whose finished jobs it learns from.
        connection: The connection to its instance.
    """

    def __init__(self, ledger: Ledger, connection: Connection) -> None:
        self._ledger = ledger
        self._connection = connection
        self._alike: dict[Hashable, Forecast | None] = {}

    def forecast(self, request: Request, program: Program, backend: IBMBackend) -> Forecast | None:
        """Return what a job is expected to be charged; ``None`` if there is no model for it.

        Args:
            request: What one job runs.
            program: What the client sends for it.
            backend: Where it runs.
        """
        work = work_of(request, program, backend)
        return None if work is None else self._of_work(request, work, backend)

    def of_sent(self, request: Request, program: Program, backend: IBMBackend) -> Forecast | None:
        """Return the same for a job that is about to be sent, whatever goes wrong with it.

        It is computed once for requests of equal sizes.
        """
        alike = (request.like, resilience_level(request), program.executions)
        if alike not in self._alike:
            try:
                found = self._alike[alike] = self.forecast(request, program, backend)
                _logger.info("A %s job is expected to cost %s.", request.kind, found or "unknown")
            except Exception:  # an estimate is no reason not to send a job
                _logger.warning(
                    "The cost of a %s job is not estimated.", request.kind, exc_info=True
                )
                self._alike[alike] = None
        return self._alike[alike]

    def _of_work(self, request: Request, work: Work, backend: IBMBackend) -> Forecast:
        if request.implementation != "executor":
            return v2_model.server_forecast(work)
        kind = JobKind(request.kind, work.level, backend.name, str(self._connection.account.url))
        return executor_model.executor_forecast(work, charges_of(self._ledger, kind))
