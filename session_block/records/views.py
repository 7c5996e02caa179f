"""Read experiments from the ledger alone, for notebooks, even while they run."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from session_block import aio
from session_block.display import html
from session_block.display.frames import pandas
from session_block.errors import InvalidInputError, LedgerError
from session_block.ledger.store import Ledger
from session_block.ledger.urls import default_ledger_url
from session_block.records import submissions as records
from session_block.records.chapters import chapter_report, is_sealed, latest_chapter
from session_block.records.charges import expected_cost
from session_block.records.identity import Identity, check_one, experiments_called
from session_block.records.journal import Journal
from session_block.records.keys import BackendChosen, Intent, Result
from session_block.records.noise import NoiseModelOrigin, origins
from session_block.records.overviews import Overview, overview
from session_block.records.sessions import SessionRecord, read_sessions
from session_block.records.stops import standing_stop
from session_block.records.submissions import Submission
from session_block.records.usage import RecordedUsage, recorded_usage

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
        """The experiment's unique ID.

        Examples:
            >>> view = Experiment.load("example")
            >>> view.uid == experiment.uid
            True
        """
        return self.identity.uid

    @property
    def resumed(self) -> bool:
        """Whether the experiment existed before it was opened here.

        Examples:
            >>> block.experiment("new").resumed, block.experiment("new").resumed
            (False, True)
        """
        return self.identity.resumed

    @property
    def sealed(self) -> bool:
        """Whether the experiment is finished: it answers from its records and submits nothing.

        Examples:
            >>> experiment.sealed
            False
        """
        return is_sealed(self._journal)

    @property
    def stopped_because(self) -> str | None:
        """Why a person or the cost limit stopped it; ``None`` if it is not stopped, or resumed.

        Examples:
            >>> experiment.stopped_because is None
            True
        """
        stop = standing_stop(self._journal)
        return None if stop is None else stop.because

    def report(self) -> dict[str, Any] | None:
        """Return the report that the experiment was sealed with; ``None`` if it is not sealed.

        The report is that of its latest chapter.

        Examples:
            >>> with block.experiment("answer") as experiment:
            ...     report = experiment.seal({"energy": -1.857})
            >>> view = Experiment.load("answer")
            >>> view.report()
            {'energy': -1.857}
        """
        return chapter_report(self._journal, self.chapter)

    @property
    def chapter(self) -> int:
        """The number of its latest chapter, counted from 1; see ``extend``.

        Examples:
            >>> with block.experiment("long") as experiment:
            ...     result = experiment.run_sampler([circuit])
            >>> block.experiment("long", extend=True).chapter
            2
        """
        return latest_chapter(self._journal)

    @property
    def previous(self) -> dict[str, Any] | None:
        """The report of the chapter before the latest one; ``None`` in the first chapter.

        Examples:
            >>> with block.experiment("better") as experiment:
            ...     report = experiment.seal({"energy": -1.857})
            >>> block.experiment("better", extend=True).previous
            {'energy': -1.857}
        """
        return chapter_report(self._journal, self.chapter - 1) if self.chapter > 1 else None

    @property
    def sessions(self) -> list[SessionRecord]:
        """The experiment's sessions, oldest first.

        Examples:
            >>> session_id = experiment.open_session()
            >>> record = experiment.sessions[-1]
            >>> record.session_id == session_id, record.backend
            (True, 'ibm_manila')
        """
        return read_sessions(self._journal)

    @property
    def session_id(self) -> str | None:
        """The ID of the experiment's latest session.

        Examples:
            >>> session_id = experiment.open_session()
            >>> Experiment.load("example").session_id == session_id
            True
        """
        ids = [record.session_id for record in self.sessions]
        return next((session_id for session_id in reversed(ids) if session_id), None)

    @property
    def backend_name(self) -> str | None:
        """The backend of all its jobs, or ``None`` while none is chosen.

        Examples:
            >>> result = experiment.run_sampler([circuit])
            >>> experiment.backend_name
            'ibm_manila'
        """
        chosen = self._journal.get(BackendChosen)
        return None if chosen is None else chosen.name

    @property
    def job_ids(self) -> list[str]:
        """The IDs of jobs with recorded results, in the order of their first requests.

        Examples:
            >>> job = experiment.submit_sampler([circuit])
            >>> result = experiment.fetch_result(job)
            >>> experiment.job_ids[-1] == job.job_id
            True
        """
        jobs = {one.submission: one.job_id for one in self._journal.all(Result)}
        asked = (one.submission for one in self._journal.all(Intent) if one.generation == 1)
        return [jobs[submission] for submission in asked if submission in jobs]

    @property
    def noise_models(self) -> list[NoiseModelOrigin]:
        """Where its noise models come from, in the order in which it took them.

        Examples:
            >>> options = {"resilience": {"pec_mitigation": True}}
            >>> model = experiment.noise_model([(ansatz, observable, [0.0] * 4)], options=options)
            >>> experiment.noise_models[-1] == model.origin
            True
        """
        return origins(self._journal)

    @property
    def expected_seconds(self) -> tuple[float, float, float] | None:
        """What its jobs were expected to be charged by themselves, then the lower and upper end.

        ``None`` if there is no job, or no estimate for one of them. Seconds of QPU usage.

        Examples:
            >>> result = experiment.run_sampler([circuit], shots=1000)
            >>> likely, low, high = experiment.expected_seconds
            >>> low < likely < high
            True
        """
        expected = expected_cost(self._journal)
        return (expected.seconds, expected.low, expected.high) if expected.is_known else None

    @property
    def recorded_results(self) -> int:
        """How many results the ledger holds.

        Examples:
            >>> before = experiment.recorded_results
            >>> result = experiment.run_sampler([circuit])
            >>> experiment.recorded_results - before
            1
        """
        return self._journal.count(Result)

    def submissions(self) -> list[dict[str, Any]]:
        """Return what the ledger says about each submission, in the order of first requests.

        Each row has the ``submission`` ID, ``label``, ``kind``, ``state`` (see
        :class:`~session_block.records.submissions.SubmissionState`), ``job_id``, ``session_id``,
        the platform's ``url``, the number of ``generations``, and the times ``asked_at`` and
        ``done_at`` by the clocks of the machines that recorded them.

        Examples:
            >>> result = experiment.run_sampler([circuit])
            >>> view = Experiment.load("example")
            >>> rows = view.submissions()
            >>> rows[-1]["kind"], rows[-1]["state"]
            ('sampler', 'result')
        """
        recorded = records.fold_all(self._journal.several(*records.FACTS))
        return [_row(one) for one in recorded.values()]

    def to_dataframe(self) -> pd.DataFrame:
        """Return a data frame with a row for each submission; needs the extra ``analysis``.

        Its columns are those of :meth:`submissions`, and what was measured. What is unknown, or
        does not apply, is NaN, ``NA`` or ``None``:

        - ``value``: the expectation value of the first PUB, in the unit of its observable; the
          lowest if it has several, and ``values`` is their number;
        - ``standard_error``: the standard error of ``value``, as the Estimator gives it;
        - ``counts``: shots by outcome, most frequent first, of a Sampler's request with one PUB and
          one parameter set; ``shots`` is their sum;
        - ``parameters``: what ``value`` was measured at, if the experiment's report lists an
          evaluation with just this value: a list, in radians;
        - ``exact``: the exact value that the experiment's report gives, the same in each row;
        - ``usage_seconds``: what the platform charged for the job, if that was recorded. Jobs in a
          session are charged together, as :meth:`Experiment.usage` tells.

        All results are read, which takes a millisecond or two for each.

        Raises:
            InvalidInputError: pandas is not installed.
            LedgerError: The ledger cannot be read or trusted.

        Examples:
            >>> result = experiment.run_sampler([circuit])
            >>> view = Experiment.load("example")
            >>> frame = view.to_dataframe()
            >>> frame["state"].iloc[-1], int(frame["shots"].iloc[-1])
            ('result', 4096)
        """
        pd = pandas()
        from session_block.records.measured import measured_rows

        rows = measured_rows(self._journal, self.submissions(), self.report())
        frame = pd.DataFrame(rows, columns=[*_COLUMNS, *_MEASURED])
        return frame.astype(_MEASURED)

    asubmissions = aio.async_twin(submissions)
    ato_dataframe = aio.async_twin(to_dataframe)

    def _at_a_glance(self) -> tuple[Overview, RecordedUsage]:
        return overview(self._ledger, self.identity), recorded_usage(self._journal)

    def _repr_html_(self) -> str:
        """Return what a notebook shows: the outcome first. Reads the ledger, and asks nobody."""
        from session_block.records.notebook import experiment_page

        try:
            return experiment_page(self.identity, self._journal, self._reported_values())
        except LedgerError as error:
            return html.page(f"Experiment {self.identity}", html.paragraph(str(error)))

    def _reported_values(self) -> list[tuple[float, float]]:
        """Return the values that the experiment's program has reported in this process."""
        return []


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

_MEASURED = {
    "value": "float64",
    "standard_error": "float64",
    "values": "Int64",
    "counts": "object",
    "shots": "Int64",
    "parameters": "object",
    "exact": "float64",
    "usage_seconds": "float64",
}
"""What to_dataframe adds to the rows, with its types: NaN and NA stand for what is unknown."""

_FLOATS = dict.fromkeys(("best", "exact", "reference", "usage_seconds"), "float64")
"""The columns of a comparison where NaN stands for what is unknown."""


@dataclass(frozen=True)
class RecordedResult:
    """The result of one submission.

    Attributes:
        submission: Its ID.
        label: The user's label, or ``None``.
        job_id: The job that gave the result.
        result: What the primitive returned, as Qiskit's ``PrimitiveResult``, or another program.

    Examples:
        >>> result = experiment.run_sampler([circuit], shots=1000, label="first")
        >>> recorded = [one for one in Experiment.load("example").results() if one.label == "first"]
        >>> recorded[0].result[0].data.meas.num_shots
        1000
    """

    submission: str
    label: str | None
    job_id: str
    result: Any


class ExperimentView(ExperimentRecords):
    """A read-only view of one experiment; no method needs the platform.

    Examples:
        >>> result = experiment.run_sampler([circuit])
        >>> view = Experiment.load("example")  # in a notebook, while it runs elsewhere
        >>> view.submissions()[-1]["state"]
        'result'
    """

    def result(self, submission: str) -> Any | None:
        """Return the recorded result of a submission, or ``None`` while there is none.

        It is Qiskit's ``PrimitiveResult``, or for another program what the client's job returns.

        Examples:
            >>> job = experiment.submit_sampler([circuit], shots=1000)
            >>> view = Experiment.load("example")
            >>> result = experiment.fetch_result(job)
            >>> recorded = view.result(job.submission)
            >>> recorded[0].data.meas.num_shots
            1000
        """
        from session_block.records.results import result_of

        return result_of(self._journal.get(Result, submission))

    def results(self) -> Iterator[RecordedResult]:
        """Yield the recorded results in the order of their first requests.

        Examples:
            >>> result = experiment.run_sampler([circuit], shots=1000)
            >>> for one in Experiment.load("example").results():
            ...     counts = one.result[0].data.meas.get_counts() if one.label == "bell" else None
        """
        for row in self.submissions():
            result = self.result(row["submission"])
            if result is not None:
                yield RecordedResult(row["submission"], row["label"], row["job_id"], result)

    aresult = aio.async_twin(result)
    areport = aio.async_twin(ExperimentRecords.report)

    async def aresults(self) -> AsyncIterator[RecordedResult]:
        """Async twin of :meth:`results`.

        Examples:
            >>> async def shots(name):
            ...     view = await Experiment.aload(name)
            ...     return [one.result[0].data.meas.num_shots async for one in view.aresults()]
            >>> with block.experiment("bell-pairs") as experiment:
            ...     result = experiment.run_sampler([circuit], shots=1000)
            >>> await shots("bell-pairs")
            [1000]
        """
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

    Examples:
        >>> with block.experiment("bell-pairs") as experiment:
        ...     result = experiment.run_sampler([circuit], shots=1000)
        >>> view = load_experiment("bell-pairs")
        >>> view.sealed
        True
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

    What is unknown, or not said by a report, is NaN or ``None``. The columns:

    - ``experiment``, ``number``, ``uid``, ``state``, ``sealed`` and ``backend``;
    - ``best``: the value that its report gives first, such as a VQE's energy, in the unit of the
      observable; ``exact``: the exact value; ``reference``: another value to compare with;
    - ``parameters``: what the best value was found at, by name; angles are in radians;
      ``counts``: shots by outcome, most frequent first;
    - ``sessions``, ``submissions``, ``jobs`` and ``results``: their numbers;
    - ``usage_seconds``: the recorded part of what the platform charged, and ``usage_complete``:
      whether that is all;
    - the numbers and texts at the top level of its report, such as ``energy``. One that has the
      name of another column is called ``report's`` and that name.

    Raises:
        InvalidInputError: pandas is not installed.
        LedgerError: A ledger cannot be read or trusted.

    Examples:
        >>> for name in ("monday", "tuesday"):
        ...     with block.experiment(name) as experiment:
        ...         report = run_vqe(experiment, optimizer_options={"maxiter": 10}, seed=1)
        >>> frame = compare([Experiment.load("monday"), Experiment.load("tuesday")])
        >>> list(frame["experiment"]), (frame["best"] > frame["exact"] - 0.1).all().item()
        (['monday', 'tuesday'], True)
    """
    frame = pandas().DataFrame([_summary(one) for one in experiments])
    return frame if frame.empty else frame.astype(_FLOATS)


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
    about, usage = view._at_a_glance()  # noqa: SLF001 - this module's
    ours = {
        "experiment": about.identity.name,
        "number": about.identity.number,
        "uid": about.identity.uid,
        "state": about.state.value,
        "sealed": view.sealed,
        "backend": about.backend,
        "best": about.best,
        "exact": about.exact,
        "reference": about.reference,
        "parameters": about.parameters,
        "counts": about.counts,
        "sessions": len({one.session_id for one in view.sessions if one.session_id}),
        "submissions": len(view.submissions()),
        "jobs": about.jobs,
        "results": about.results,
        "usage_seconds": usage.known_seconds,
        "usage_complete": usage.complete,
    }
    report = view.report() or {}
    told = {
        f"report's {name}" if name in ours else name: value
        for name, value in report.items()
        if isinstance(value, int | float | str) and not (name == "exact" and value == about.exact)
    }
    return {**ours, **told}
