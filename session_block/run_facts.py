"""What every report says of the run behind it: experiment, sessions, jobs, usage."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    from session_block.experiment import Experiment


class RunFacts(BaseModel):
    """Where a report's numbers come from.

    Attributes:
        experiment: The experiment's name.
        number: Which experiment of that name.
        uid: Its unique ID, which all its jobs bear as a tag.
        backend: The backend that ran them; ``None`` if nothing was ever submitted.
        session_ids: Its sessions and batches, oldest first.
        job_ids: The jobs whose results it uses, in the order in which they were asked for.
        usage_seconds: What the experiment had been charged with when the report was made; the
            session itself is closed only after that.
    """

    model_config = ConfigDict(frozen=True)

    experiment: str
    number: int
    uid: str
    backend: str | None
    session_ids: list[str]
    job_ids: list[str]
    usage_seconds: float


def run_facts(experiment: Experiment) -> RunFacts:
    """Gather them; asks the platform for the usage.

    Raises:
        ConnectionFailedError: The platform does not tell.
    """
    return RunFacts(
        experiment=experiment.identity.name,
        number=experiment.identity.number,
        uid=experiment.uid,
        backend=experiment.backend_name,
        session_ids=list(
            dict.fromkeys(one.session_id for one in experiment.sessions if one.session_id)
        ),
        job_ids=experiment.job_ids,
        usage_seconds=experiment.usage_seconds(),
    )
