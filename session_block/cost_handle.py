"""The costs of an experiment: what it has used, and what more of it would cost."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from session_block import aio
from session_block.budget import Budget
from session_block.errors import InvalidInputError
from session_block.estimate import Estimate, estimate
from session_block.references import Implementation
from session_block.request import Request, estimator_request, sampler_request
from session_block.session_handle import SessionHandle
from session_block.usage import ExperimentUsage, UsageMeter


class CostHandle(SessionHandle):
    """An experiment's records, its session, and what they cost."""

    _meter: UsageMeter
    _budget: Budget

    def usage_seconds(self) -> float:
        """Return what the experiment is charged with so far, as the platform counts it.

        Raises:
            ConnectionFailedError: The platform does not tell.
        """
        return self._meter.seconds()

    def usage(self) -> ExperimentUsage:
        """Return what the experiment, its sessions and its jobs have used, as the platform says.

        Raises:
            ConnectionFailedError: The platform does not tell.
        """
        return self._meter.report()

    def estimate_sampler(
        self,
        pubs: Iterable[Any],
        *,
        shots: int | None = None,
        options: Any = None,
        implementation: Implementation = "v2",
        jobs: int = 1,
    ) -> Estimate:
        """Say what jobs like this one would cost, and what there is to spend; submits nothing.

        See :meth:`run_sampler` for the request; ``jobs`` is how many there will be.
        """
        request = sampler_request(pubs, shots=shots, options=options, implementation=implementation)
        return self._estimate(request, jobs)

    def estimate_estimator(
        self,
        pubs: Iterable[Any],
        *,
        precision: float | None = None,
        options: Any = None,
        implementation: Implementation = "v2",
        jobs: int = 1,
    ) -> Estimate:
        """Say what jobs like this one would cost, and what there is to spend; submits nothing.

        See :meth:`run_estimator` for the request; ``jobs`` is how many there will be.
        """
        request = estimator_request(
            pubs, precision=precision, options=options, implementation=implementation
        )
        return self._estimate(request, jobs)

    ausage_seconds = aio.async_twin(usage_seconds)
    ausage = aio.async_twin(usage)
    aestimate_sampler = aio.async_twin(estimate_sampler)
    aestimate_estimator = aio.async_twin(estimate_estimator)

    def _estimate(self, request: Request, jobs: int) -> Estimate:
        if jobs < 0:
            raise InvalidInputError(f"There cannot be {jobs} jobs; estimate none or more.")
        keeper = self._keeper()
        request.check_isa(keeper.target)
        allocation = keeper.connection.allocation()
        return estimate(request, jobs, keeper.backend, allocation, self._budget.left())
