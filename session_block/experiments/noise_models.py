"""Noise models that are learned once, and shared by an owner's experiments."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from qiskit.circuit import CircuitInstruction
from qiskit.primitives.containers.estimator_pub import EstimatorPub
from qiskit.providers.fake_provider import GenericBackendV2
from qiskit.quantum_info import PauliLindbladMap

from session_block.environment.durations import longest_age_seconds
from session_block.environment.forks import ForkLock
from session_block.errors import ConnectionFailedError, InvalidInputError, LedgerError
from session_block.experiments.program_request import ProgramRequest, learning_request
from session_block.experiments.replay import Answering
from session_block.pubs.families import primitive_class
from session_block.pubs.options import chosen_options, input_errors
from session_block.records.context import ExperimentContext
from session_block.records.journal import Journal
from session_block.records.keys import NOISE, NoiseLearned, NoiseModelTaken, Result
from session_block.records.noise import NoiseModelOrigin, learned_models, model_id
from session_block.records.results import result_of
from session_block.records.submissions import Asked, read_submission
from session_block.sessions.manager import SessionManager

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class NoiseModel:
    """The noise of a circuit's layers, as PEC and PEA need it.

    Attributes:
        layers: The boxed layers, as the client's ``Estimator.find_unique_layers`` returns them.
        maps: The learned noise of each layer.
        origin: Who learned it, when, and how old it was when this experiment took it.

    Examples:
        >>> options = {"resilience": {"pec_mitigation": True}}
        >>> pub = (ansatz, observable, [0.0] * 4)
        >>> model = experiment.noise_model([pub], options=options, max_age="6h")
        >>> options["resilience"]["layer_noise_model"] = model.layer_noise_model
        >>> experiment.run_estimator([pub], options=options)[0].data.evs.shape
        ()
    """

    layers: Sequence[CircuitInstruction]
    maps: Sequence[PauliLindbladMap]
    origin: NoiseModelOrigin

    @property
    def layer_noise_model(self) -> list[tuple[CircuitInstruction, PauliLindbladMap]]:
        """The value of the Estimator's option ``resilience.layer_noise_model``.

        Examples:
            >>> options = {"resilience": {"pec_mitigation": True}}
            >>> model = experiment.noise_model([(ansatz, observable, [0.0] * 4)], options=options)
            >>> [layer, noise] = model.layer_noise_model[0]
            >>> layer.operation.name
            'box'
        """
        return list(zip(self.layers, self.maps, strict=True))


@dataclass(frozen=True)
class NoiseModelRequest:
    """A validated request for a noise model.

    Attributes:
        learning: What learns it.
        max_age_seconds: How old it may be; ``None`` for any age.
    """

    learning: ProgramRequest
    max_age_seconds: float | None

    @property
    def layers(self) -> Sequence[CircuitInstruction]:
        """The layers whose noise is asked for."""
        layers: Sequence[CircuitInstruction] = self.learning.given["layers"]
        return layers


def noise_model_request(
    pubs: Iterable[Any],
    *,
    options: Any,
    learner_options: Any = None,
    max_age: int | str | timedelta | None = None,
    label: str | None = None,
) -> NoiseModelRequest:
    """Make a request for the noise model of PUBs.

    Args:
        pubs: All PUBs that are to be run with the model, as for :meth:`Experiment.run_estimator`:
            it is learned for all their layers together. Their circuits must be ISA circuits.
        options: The options that they are to be run with, of the client's Estimator of the family
            ``executor``, with ``pec_mitigation``, or ``zne_mitigation`` with the amplifier ``pea``.
            They say how the circuits are cut into layers.
        learner_options: The options of the client's ``NoiseLearnerV3``, as a dict or an object,
            with up to five of your own ``environment.job_tags``.
        max_age: How old a model may be that was learned before: seconds, text such as ``"6h"``, or
            a ``timedelta``. ``None`` for any age; 0 to learn in any case.
        label: A name for this request. Without a label it is recognised by its content and its
            place among equal requests. Processes that did not open the experiment need labels.

    Raises:
        InvalidInputError: A PUB, an option or the age is wrong, or there is no layer.
    """
    longest = longest_age_seconds(max_age, "max_age")
    chosen = chosen_options("estimator", "executor", options)
    given = list(pubs)
    with input_errors("The request for a noise model is"):
        coerced = [EstimatorPub.coerce(pub, None) for pub in given]
        # Layers do not depend on the backend, so none is asked for: a replay needs no network.
        estimator = primitive_class("estimator", "executor")(GenericBackendV2(2), chosen)
        resilience = estimator.finalize_options().resilience
        amplified = resilience.zne_mitigation and resilience.zne.amplifier == "pea"
        if not (resilience.pec_mitigation or amplified):
            raise InvalidInputError(
                "The options ask neither for PEC nor for PEA, so they need no noise model. Nothing "
                "was submitted. Set options.resilience.pec_mitigation, or zne_mitigation with "
                "zne.amplifier='pea'."
            )
        layers = estimator.find_unique_layers(coerced)
    if not layers:
        raise InvalidInputError(
            "The PUBs have no layer of two-qubit gates, so there is no noise to learn. Nothing was "
            "submitted."
        )
    learning = learning_request(
        layers, options=learner_options, implementation="executor", label=label
    )
    fitting = [pub.circuit for pub in coerced]
    return NoiseModelRequest(replace(learning, fitting=fitting), longest)


class NoiseModels:
    """Answers requests for noise models with those that were learned before.

    A model belongs to a backend, an instance, an owner, the layers in their order, and the
    learner's options. Which one a request was answered with is recorded, so a resumed run gets the
    same, however old it is by then.

    Limit: two processes, or two experiments, that ask at the same time may both learn; threads of
    one experiment do not.

    Args:
        context: The experiment.
        sessions: Say where its jobs are sent, and when the backend was calibrated.
    """

    def __init__(self, context: ExperimentContext, sessions: SessionManager) -> None:
        self._context = context
        self._journal = context.journal
        self._ledger = context.journal.ledger
        self._sessions = sessions
        self._connection = sessions.connection
        self._lock = ForkLock()
        self._at_work: dict[str, ForkLock] = {}

    def one_by_one(self, request: NoiseModelRequest) -> ForkLock:
        """Return what lets threads ask for one model one after another, so that one learns it."""
        with self._lock:
            return self._at_work.setdefault(request.learning.fingerprint, ForkLock())

    def taken(self, submission: str) -> NoiseModelTaken | None:
        """Return what a request was answered with; ``None`` if it was not answered yet."""
        return self._journal.get(NoiseModelTaken, submission)

    def answering(self, request: NoiseModelRequest) -> Answering:
        """Return what may answer a request without a submission."""
        return _Taking(self, request)

    def take(self, request: NoiseModelRequest, submission: str, asked: Asked) -> bool:
        """Answer a new request with a model that was learned before, if there is one.

        Raises:
            BackendRecalibratedError: The backend was recalibrated, and the Block says to stop then.
            ConnectionFailedError: The platform does not answer.
        """
        if self._context.sealed:
            return False
        known = learned_models(self._ledger, self._model(asked.fingerprint))
        found = next((one for one in known if self._may_take(one, request)), None)
        if found is None:
            return False
        taken = self._record(found, submission, asked)
        _logger.info(
            "Experiment %s takes the noise model that experiment %r learned in job %s, %.0f s ago.",
            self._context.identity,
            taken.name,
            taken.job_id,
            taken.age_seconds,
        )
        return True

    def share(self, submission: str, asked: Asked) -> NoiseModelTaken:
        """Let other experiments take a model that this one has learned for a request."""
        result = self._journal.get(Result, submission)
        if result is None:
            raise LedgerError(
                f"The ledger lost the result of submission {submission}, which it had recorded.",
                experiment=self._context.uid,
                submission=submission,
            )
        generations = read_submission(self._journal, submission).generations
        made = [one for one in generations if one.job_id == result.job_id] or generations
        intent = made[-1].intent
        # Rather too early than too late: a model never counts as younger than it is.
        asked_at = intent.recorded_at or self._context.environment.now()
        learned_at = self._ended_at(result.job_id) or asked_at
        learned = NoiseLearned(
            model=self._model(asked.fingerprint),
            uid=self._context.uid,
            submission=submission,
            name=self._context.identity.name,
            job_id=result.job_id,
            learned_at=learned_at.isoformat(),
            calibrated_at=intent.calibrated_at,
        )
        shared, _ = Journal(self._ledger, NOISE).record(learned)
        return self._record(shared, submission, asked)

    def model(self, request: NoiseModelRequest, taken: NoiseModelTaken) -> NoiseModel:
        """Return the model that a request was answered with.

        Raises:
            LedgerError: The ledger does not hold it any more, or it cannot be read.
        """
        result = result_of(Journal(self._ledger, taken.uid).get(Result, taken.source))
        if result is None:
            raise LedgerError(
                f"Experiment {self._context.identity} took the noise model that experiment "
                f"{taken.name!r} ({taken.uid}) learned in job {taken.job_id}, and the ledger does "
                "not hold it any more. Restore the ledger from its backup, or start a new "
                f"experiment {self._context.identity.anew}.",
                experiment=self._context.uid,
                job_id=taken.job_id,
            )
        maps = result.to_pauli_lindblad_maps()
        return NoiseModel(request.layers, maps, NoiseModelOrigin.of(taken))

    def _may_take(self, learned: NoiseLearned, request: NoiseModelRequest) -> bool:
        longest = request.max_age_seconds
        if longest is not None and (longest == 0 or self._age_seconds(learned) > longest):
            return False
        if self._sessions.plan.on_recalibration != "continue":
            now = self._sessions.calibrated_at(None)
            if now is not None and now != learned.calibrated_at:
                return False
        return Journal(self._ledger, learned.uid).has(Result, learned.submission)

    def _record(self, learned: NoiseLearned, submission: str, asked: Asked) -> NoiseModelTaken:
        taken, _ = self._journal.record(
            NoiseModelTaken(
                submission=submission,
                fingerprint=asked.fingerprint,
                occurrence=asked.occurrence,
                model=learned.model,
                uid=learned.uid,
                source=learned.submission,
                name=learned.name,
                job_id=learned.job_id,
                learned_at=learned.learned_at,
                calibrated_at=learned.calibrated_at,
                age_seconds=self._age_seconds(learned),
                asker=asked.asker,
                chapter=asked.chapter,
                labelled=asked.label is not None,
            )
        )
        return taken

    def _model(self, fingerprint: str) -> str:
        owner = self._context.owner_digest(self._connection.open().identity)
        return model_id(
            self._sessions.place,
            # Who is unknown shares with nobody.
            owner or self._context.uid,
            self._sessions.backend_choice.calibration_id,
            fingerprint,
            fingerprint_version=self._context.versions.fingerprint,
        )

    def _age_seconds(self, learned: NoiseLearned) -> float:
        now = self._connection.account.now()
        return max(0.0, (now - datetime.fromisoformat(learned.learned_at)).total_seconds())

    def _ended_at(self, job_id: str) -> datetime | None:
        try:
            return self._connection.jobs.metrics(job_id).finished
        except ConnectionFailedError as error:
            _logger.info("The platform does not say when job %s ended: %s", job_id, error)
            return None


@dataclass(frozen=True)
class _Taking:
    """Answers one request for a noise model without a submission, if it can.

    Attributes:
        models: The experiment's noise models.
        request: The request.
    """

    models: NoiseModels
    request: NoiseModelRequest

    def known(self, submission: str) -> str | None:
        """Return the fingerprint of the request that was answered; ``None`` if none was."""
        taken = self.models.taken(submission)
        return None if taken is None else taken.fingerprint

    def answer(self, submission: str, asked: Asked) -> bool:
        """Answer a new request now; return whether it was."""
        return self.models.take(self.request, submission, asked)
