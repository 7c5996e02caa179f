"""The content of a report: an algorithm's outcome as JSON, and the run behind it."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import BaseModel, ConfigDict
from scipy.optimize import OptimizeResult

from session_block.costs.course import CostCourse
from session_block.errors import InvalidInputError
from session_block.records.noise import NoiseModelOrigin

if TYPE_CHECKING:
    from session_block.records.views import ExperimentRecords

_logger = logging.getLogger(__name__)


def plain(outcome: Any) -> dict[str, Any]:
    """Return an outcome as a JSON object.

    From SciPy's ``OptimizeResult``, values that are not JSON, such as an approximate Hessian, are
    left out. A number, a text or a list gets the key ``outcome``.

    Raises:
        InvalidInputError: The outcome is, or contains, something that has no JSON value.
    """
    if isinstance(outcome, OptimizeResult):
        return {key: _plain(value) for key, value in outcome.items() if _has_json(value)}
    value = _plain(outcome)
    return value if isinstance(value, dict) else {"outcome": value}


def _plain(value: Any) -> Any:
    match value:
        case None | bool() | int() | str():
            return value
        case float() if math.isfinite(value):
            return value
        case np.ndarray() | np.generic():
            return _plain(value.tolist())
        case BaseModel():
            return _plain(value.model_dump(mode="json"))
        case Mapping():
            return {str(key): _plain(item) for key, item in value.items()}
        case list() | tuple():
            return [_plain(item) for item in value]
        case _:
            raise InvalidInputError(
                f"A report cannot hold {value!r} ({type(value).__qualname__}): it is kept as JSON. "
                "Give numbers, text, lists, dicts, NumPy arrays or pydantic models."
            )


def _has_json(value: Any) -> bool:
    try:
        json.dumps(_plain(value))
    except InvalidInputError:
        return False
    return True


class RunFacts(BaseModel):
    """The run that a report's numbers come from.

    Attributes:
        experiment: The experiment's name.
        number: Which experiment with that name.
        uid: Its unique ID; all its jobs have it as a tag.
        backend: The backend of its jobs; ``None`` if nothing was ever submitted.
        session_ids: Its sessions and batches, oldest first.
        job_ids: The jobs that gave its results, in the order of the requests.
        usage_seconds: The usage charged until the report was made. The session is closed only
            after that.
        expected_seconds: What was expected for its jobs when they were sent; in a session with the
            gaps between them. ``None`` if it is not known.
        low_seconds: The lower end of what was expected.
        high_seconds: The upper end.
        noise_models: Where its noise models come from, and how old they were when it took them.

    Examples:
        >>> with block.experiment("h2") as experiment:
        ...     report = run_vqe(experiment, optimizer_options={"maxiter": 10}, seed=1)
        >>> report.run.experiment, report.run.backend, len(report.run.session_ids)
        ('h2', 'ibm_manila', 1)
        >>> len(report.run.job_ids) == len(report.evaluations)
        True
    """

    model_config = ConfigDict(frozen=True)

    experiment: str
    number: int
    uid: str
    backend: str | None
    session_ids: list[str]
    job_ids: list[str]
    usage_seconds: float
    expected_seconds: float | None = None
    low_seconds: float | None = None
    high_seconds: float | None = None
    noise_models: list[NoiseModelOrigin] = []


def facts_of_run(experiment: ExperimentRecords, costs: CostCourse) -> RunFacts:
    """Return an experiment's run facts from its records, and log its costs.

    Args:
        experiment: The experiment.
        costs: What it is charged with, read from the platform, and what was expected.
    """
    _logger.info("Experiment %s has made %s.", experiment.identity, costs)
    return RunFacts(
        experiment=experiment.identity.name,
        number=experiment.identity.number,
        uid=experiment.uid,
        backend=experiment.backend_name,
        session_ids=list(
            dict.fromkeys(one.session_id for one in experiment.sessions if one.session_id)
        ),
        job_ids=experiment.job_ids,
        usage_seconds=costs.spent_seconds,
        expected_seconds=costs.expected_seconds,
        low_seconds=costs.low_seconds,
        high_seconds=costs.high_seconds,
        noise_models=experiment.noise_models,
    )
