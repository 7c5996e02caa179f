"""Noise models: which have been learned and may be shared, and which an experiment has taken."""

from __future__ import annotations

import hashlib
import json
from dataclasses import astuple
from datetime import datetime
from typing import Self

from pydantic import BaseModel, ConfigDict

from session_block.ledger.store import Ledger
from session_block.records.journal import Journal
from session_block.records.keys import NOISE, NoiseLearned, NoiseModelTaken, Place

_RULE = 1
"""The version of the rule by which models are shared."""


class NoiseModelOrigin(BaseModel):
    """Where a noise model comes from, and how old it was when an experiment took it.

    Attributes:
        experiment: The name of the experiment that learned it.
        uid: The unique ID of that experiment.
        job_id: The job that learned it.
        learned_at: When that job ended, by the platform's clock.
        calibrated_at: When the backend had last been calibrated before the job was submitted;
            ``None`` if that is not known.
        age_seconds: Its age when the experiment that uses it took it.

    Examples:
        >>> options = {"resilience": {"pec_mitigation": True}}
        >>> model = experiment.noise_model([(ansatz, observable, [0.0] * 4)], options=options)
        >>> model.origin.experiment, model.origin.age_seconds >= 0
        ('example', True)
    """

    model_config = ConfigDict(frozen=True)

    experiment: str
    uid: str
    job_id: str
    learned_at: datetime
    calibrated_at: datetime | None = None
    age_seconds: float

    @classmethod
    def of(cls, taken: NoiseModelTaken) -> Self:
        """Return the origin of a model that was taken.

        Examples:
            >>> from session_block.records.journal import Journal
            >>> from session_block.records.keys import NoiseModelTaken
            >>> options = {"resilience": {"pec_mitigation": True}}
            >>> model = experiment.noise_model([(ansatz, observable, [0.0] * 4)], options=options)
            >>> taken = Journal(ledger, experiment.uid).all(NoiseModelTaken)[-1]
            >>> NoiseModelOrigin.of(taken) == model.origin
            True
        """
        return cls(
            experiment=taken.name,
            uid=taken.uid,
            job_id=taken.job_id,
            learned_at=datetime.fromisoformat(taken.learned_at),
            calibrated_at=taken.calibrated_at,
            age_seconds=taken.age_seconds,
        )


def model_id(
    place: Place,
    owner: str,
    calibration_id: str | None,
    fingerprint: str,
    *,
    fingerprint_version: int,
) -> str:
    """Return the name that equal noise models of one owner share in a ledger.

    Args:
        place: The backend, and the instance and platform that it is used through.
        owner: Whose experiments share it.
        calibration_id: Which of the backend's calibrations is asked for; ``None`` for the newest.
        fingerprint: The fingerprint of the layers, in their order, and of the learner's options.
        fingerprint_version: The version of the rule for fingerprints.
    """
    content = [_RULE, *astuple(place), owner, calibration_id, fingerprint, fingerprint_version]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:32]


def learned_models(ledger: Ledger, model: str) -> list[NoiseLearned]:
    """Return the models of one name that have been learned, the latest first."""
    found = Journal(ledger, NOISE).all(NoiseLearned, model)
    return sorted(found, key=lambda one: datetime.fromisoformat(one.learned_at), reverse=True)


def origins(journal: Journal) -> list[NoiseModelOrigin]:
    """Return the origins of the noise models that an experiment has taken, in that order.

    A model that it took several times has the age of the last time.
    """
    taken = {(one.uid, one.source): one for one in journal.all(NoiseModelTaken)}
    return [NoiseModelOrigin.of(one) for one in taken.values()]
