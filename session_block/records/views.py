"""Read experiments from the ledger alone, for notebooks, even while they run."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from session_block import aio
from session_block.errors import InvalidInputError
from session_block.ledger.store import Ledger
from session_block.ledger.urls import default_ledger_url
from session_block.records import submissions as records
from session_block.records.chapters import chapter_report, is_sealed, latest_chapter
from session_block.records.charges import expected_cost
from session_block.records.identity import Identity, check_one, experiments_called
from session_block.records.journal import Journal
from session_block.records.keys import BackendChosen, Intent, Result
from session_block.records.noise import NoiseModelOrigin, origins
from session_block.records.sessions import SessionRecord, read_sessions
from session_block.records.states import SubmissionState
from session_block.records.stops import standing_stop
from session_block.records.submissions import Submission

if TYPE_CHECKING:
    import pandas as pd


class ExperimentRecords:
    """A read-only view of one experiment.

    Attributes:
        identity: Name, number and UID.
    """

    def __init__(self, identity: Identity, ledger: Ledger) -> None:
        self.identity = identity
        self._ledger = ledger
        self._journal = Journal(ledger, identity.uid)

    @property
    def uid(self) -> str:
        """The experiment's unique ID."""
        return self.identity.uid

    @property
    def resumed(self) -> bool:
        """Whether the experiment existed before it was opened here."""
        return self.identity.resumed

    @property
    def sealed(self) -> bool:
        """Whether the experiment is finished: it answers from its records and submits nothing."""
        return is_sealed(self._journal)

    @property
    def stopped_because(self) -> str | None:
        """Why a person or the cost limit stopped it; ``None`` if it is not stopped, or resumed."""
        stop = standing_stop(self._journal)
        return None if stop is None else stop.because

    def report(self) -> dict[str, Any] | None:
        """Return the report that the experiment was sealed with; ``None`` if it is not sealed.

        The report is that of its latest chapter.
        """
        return chapter_report(self._journal, self.chapter)

    @property
    def chapter(self) -> int:
        """The number of its latest chapter, counted from 1; see ``extend``."""
        return latest_chapter(self._journal)

    @property
    def previous(self) -> dict[str, Any] | None:
        """The report of the chapter before the latest one; ``None`` in the first chapter."""
        return chapter_report(self._journal, self.chapter - 1) if self.chapter > 1 else None

    @property
    def sessions(self) -> list[SessionRecord]:
        """The experiment's sessions, oldest first."""
        return read_sessions(self._journal)

    @property
    def session_id(self) -> str | None:
        """The ID of the experiment's latest session."""
        ids = [record.session_id for record in self.sessions]
        return next((session_id for session_id in reversed(ids) if session_id), None)

    @property
    def backend_name(self) -> str | None:
        """The backend of all its jobs, or ``None`` while none is chosen."""
        chosen = self._journal.get(BackendChosen)
        return None if chosen is None else chosen.name

    @property
    def job_ids(self) -> list[str]:
        """The IDs of jobs with recorded results, in the order of their first requests."""
        jobs = {one.submission: one.job_id for one in self._journal.all(Result)}
        asked = (one.submission for one in self._journal.all(Intent) if one.generation == 1)
        return [jobs[submission] for submission in asked if submission in jobs]

    @property
    def noise_models(self) -> list[NoiseModelOrigin]:
        """Where its noise models come from, in the order in which it took them."""
        return origins(self._journal)

    @property
    def expected_seconds(self) -> tuple[float, float, float] | None:
        """What its jobs were expected to be charged by themselves, then the lower and upper end.

        ``None`` if there is no job, or no estimate for one of them.
        """
        expected = expected_cost(self._journal)
        return (expected.seconds, expected.low, expected.high) if expected.is_known else None

    @property
    def recorded_results(self) -> int:
        """How many results the ledger holds."""
        return self._journal.count(Result)


_COLUMNS = (
    "submission",
    "label",
    "kind",
    "state",
    "job_id",
    "session_id",
    "url",
    "generations",
    "asked_at",
    "done_at",
)


@dataclass(frozen=True)
class RecordedResult:
    """The result of one submission.

    Attributes:
        submission: Its ID.
        label: The user's label, or ``None``.
        job_id: The job that gave the result.
        result: What the primitive returned, as Qiskit's ``PrimitiveResult``, or another program.
    """

    submission: str
    label: str | None
    job_id: str
    result: Any


class ExperimentView(ExperimentRecords):
    """A read-only view of one experiment; no method needs the platform."""

    def result(self, submission: str) -> Any | None:
        """Return the recorded result of a submission, or ``None`` while there is none.

        It is Qiskit's ``PrimitiveResult``, or for another program what the client's job returns.
        """
        from session_block.records.results import result_of

        return result_of(self._journal.get(Result, submission))

    def results(self) -> Iterator[RecordedResult]:
        """Yield the recorded results in the order of their first requests."""
        for row in self.submissions():
            result = self.result(row["submission"])
            if result is not None:
                yield RecordedResult(row["submission"], row["label"], row["job_id"], result)

    def submissions(self) -> list[dict[str, Any]]:
        """Return what the ledger says about each submission, in the order of first requests.

        Each row has the ``submission`` ID, ``label``, ``kind``, ``state`` (see
        :class:`~session_block.records.submissions.SubmissionState`), ``job_id``, ``session_id``,
        the platform's ``url``, the number of ``generations``, and the times ``asked_at`` and
        ``done_at`` by the clocks of the machines that recorded them.
        """
        recorded = records.fold_all(self._journal.several(*records.FACTS))
        return [_row(one) for one in recorded.values()]

    def to_dataframe(self) -> pd.DataFrame:
        """Return :meth:`submissions` as a data frame; needs the extra ``analysis``.

        Raises:
            InvalidInputError: pandas is not installed.
        """
        return _pandas().DataFrame(self.submissions(), columns=list(_COLUMNS))

    aresult = aio.async_twin(result)
    asubmissions = aio.async_twin(submissions)
    areport = aio.async_twin(ExperimentRecords.report)
    ato_dataframe = aio.async_twin(to_dataframe)

    async def aresults(self) -> AsyncIterator[RecordedResult]:
        """Async twin of :meth:`results`."""
        results = self.results()
        while (one := await aio.in_thread(next, results, None)) is not None:
            yield one


def load_experiment(
    name: str, ledger: Ledger | None = None, *, number: int | None = None
) -> ExperimentView:
    """Return a view of an experiment by its name or UID, without asking the platform.

    Args:
        name: The experiment's name or its UID; or, if it was opened without a name, the ID of its
            outermost flow run.
        ledger: Where to look; by default the one that ``SESSION_BLOCK_LEDGER_URL`` names, or the
            embedded one.
        number: Which experiment of that name; by default the latest.

    Raises:
        InvalidInputError: The ledger knows no such experiment, or the flow run opened several.
        LedgerError: The ledger cannot be read or trusted.
    """
    ledger = Ledger(default_ledger_url()) if ledger is None else ledger
    known = experiments_called(ledger, name)
    check_one(name, {one.name: None for one in known})
    found = [one for one in known if number in (None, one.number)]
    if not found:
        which = "" if number is None else f" number {number}"
        raise InvalidInputError(
            f"{ledger} has no experiment {name!r}{which}. "
            "'session-block experiments list' shows the ones that it has."
        )
    return ExperimentView(max(found, key=lambda one: one.number), ledger)


aload_experiment = aio.async_twin_of_function(load_experiment)


def compare(experiments: Sequence[ExperimentView]) -> pd.DataFrame:
    """Return a data frame with a row for each experiment; needs the extra ``analysis``.

    The columns are what the ledger says about each experiment, and the numbers and texts at the top
    level of its report, such as a VQE's ``energy``.

    Raises:
        InvalidInputError: pandas is not installed.
    """
    return _pandas().DataFrame([_summary(one) for one in experiments])


acompare = aio.async_twin_of_function(compare)


def _row(recorded: Submission) -> dict[str, Any]:
    first, latest, done = recorded.generations[0], recorded.generations[-1], recorded.result
    values = (
        recorded.id,
        latest.intent.label,
        latest.intent.kind,
        recorded.state.value,
        latest.job_id if done is None else done.job_id,
        latest.intent.session_id,
        latest.intent.url,
        latest.number,
        first.intent.recorded_at,
        None if done is None else done.recorded_at,
    )
    return dict(zip(_COLUMNS, values, strict=True))


def _summary(view: ExperimentView) -> dict[str, Any]:
    report = view.report() or {}
    plain = {key: value for key, value in report.items() if isinstance(value, int | float | str)}
    rows = view.submissions()
    return {
        "experiment": view.identity.name,
        "number": view.identity.number,
        "uid": view.uid,
        "sealed": view.sealed,
        "backend": view.backend_name,
        "sessions": len({one.session_id for one in view.sessions if one.session_id}),
        "submissions": len(rows),
        "results": sum(row["state"] == SubmissionState.RESULT for row in rows),
        **plain,
    }


def _pandas() -> Any:
    try:
        import pandas as pd
    except ImportError as error:
        raise InvalidInputError("Data frames need pandas: pip install pandas") from error
    return pd
