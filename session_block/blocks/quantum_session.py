"""The Block: account, backend and duration of sessions, and how experiments are opened."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any, Self
from uuid import UUID
from weakref import WeakKeyDictionary

import prefect  # noqa: F401 - imported whole and first, Prefect loads a tenth faster
from prefect.client.orchestration import PrefectClient
from pydantic import PrivateAttr, ValidationError, model_validator

from session_block import aio
from session_block.blocks.credentials import (
    DOCUMENTATION_URL,
    LOGO_URL,
    IBMSessionCredentials,
    LocalPlatformCredentials,
    may_be_one_account,
    source_of,
)
from session_block.blocks.fields import SessionSettings
from session_block.blocks.forms import FormBlock, reasons
from session_block.errors import InvalidInputError, LabelRequiredError
from session_block.references import Implementation
from session_block.settings import Settings, Source

if TYPE_CHECKING:
    from session_block.client import Connection
    from session_block.experiments.experiment import Experiment
    from session_block.ledger.store import Ledger
    from session_block.records.identity import Identity, Lost
    from session_block.records.places import RunPlace
    from session_block.references import SessionRef

_Credentials = IBMSessionCredentials | LocalPlatformCredentials

_OPENED_WITH: WeakKeyDictionary[Experiment, tuple[_Credentials, Settings]] = WeakKeyDictionary()
"""The credentials and settings with which this process opened its experiments."""

_BEFORE_THERE_WAS_A_CHOICE: Implementation = "v2"
"""The family of Blocks that were saved without the field."""

_LATER = "keep_raw"
"""A younger field that every form saves, as its values are yes and no.

Prefect's first UI leaves out a choice that is the default. So a document that has this field and
names no family was saved where the default was to be seen.
"""

_logger = logging.getLogger(__name__)


class QuantumSession(SessionSettings, FormBlock):
    """How to open an IBM Quantum session: credentials, backend and longest duration.

    Pass its *name* to flows, and load it inside: Prefect stores the parameters of a flow run, and
    masks secrets in them for good.

    Note:
        Loading it makes no network call.

    Example:
        Open an experiment, or continue it where it was interrupted:

        ```python
        from qiskit import QuantumCircuit
        from session_block import QuantumSession

        bell_pair = QuantumCircuit(2)
        bell_pair.h(0)
        bell_pair.cx(0, 1)
        bell_pair.measure_all()

        block = QuantumSession.load("BLOCK_NAME")
        with block.experiment("bell-pairs") as experiment:
            circuit = experiment.transpile(bell_pair)
            result = experiment.run_sampler([circuit], shots=1000)
        print(result[0].data.meas.get_counts())
        ```
    """

    _block_type_name = "Quantum Session"
    _block_type_slug = "quantum-session"
    _logo_url = LOGO_URL
    _documentation_url = DOCUMENTATION_URL

    _opened_as_saved: str | None = PrivateAttr(None)
    _as_saved: list[Any] | None = PrivateAttr(None)
    _copied_name: str | None = PrivateAttr(None)

    @model_validator(mode="before")
    @classmethod
    def _is_no_name(cls, fields: Any) -> Any:
        if isinstance(fields, str):
            raise InvalidInputError(
                "A Block's name was given for the Block. Annotate the parameter as str, and load "
                "the Block in the flow: QuantumSession.load(name)."
            )
        return fields

    @model_validator(mode="after")
    def _note_what_it_was_made_with(self) -> Self:
        if self._opened_as_saved is None:  # and not again when a field is assigned
            self._note_as_saved()
        return self

    def _note_as_saved(self) -> None:
        self._opened_as_saved, self._as_saved = self._sessions_opened, self._all_fields

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        # Prefect sets this of a Block that it has loaded, also of one in another, or has saved.
        is_saved = name == "_block_document_id" and value is not None
        if is_saved and self.model_fields_set.isdisjoint({"implementation", _LATER}):
            self.implementation = _BEFORE_THERE_WAS_A_CHOICE
            self._note_as_saved()

    @contextmanager
    def _noted_as_saved(self) -> Iterator[None]:
        before = self._opened_as_saved, self._as_saved
        self.implementation = self._implementation  # a later default is no reason to change it
        self._note_as_saved()
        try:
            yield
        except BaseException:
            self._opened_as_saved, self._as_saved = before
            raise

    def save(
        self, name: str | None = None, overwrite: bool = False, client: PrefectClient | None = None
    ) -> UUID:
        """Save the Block; see :meth:`FormBlock.save`.

        Examples:
            >>> credentials = LocalPlatformCredentials()
            >>> block = QuantumSession(credentials=credentials, backend_name="ibm_fez")
            >>> document_id = block.save("on-fez", overwrite=True)
            >>> QuantumSession.load("on-fez").backend_name
            'ibm_fez'
        """
        with self._noted_as_saved():
            return super().save(name, overwrite, client)

    async def asave(
        self, name: str | None = None, overwrite: bool = False, client: PrefectClient | None = None
    ) -> UUID:
        """Async twin of :meth:`save`.

        Examples:
            >>> credentials = LocalPlatformCredentials()
            >>> block = QuantumSession(credentials=credentials, backend_name="ibm_fez")
            >>> document_id = await block.asave("on-fez", overwrite=True)
            >>> loaded = await QuantumSession.aload("on-fez")
            >>> loaded.backend_name
            'ibm_fez'
        """
        with self._noted_as_saved():
            return await super().asave(name, overwrite, **_given(client))

    def experiment(
        self,
        name: str | None = None,
        *,
        fresh: bool = False,
        extend: bool = False,
        uid: str | None = None,
        key: str | None = None,
        problem: Any = None,
    ) -> Experiment:
        """Open a new experiment, or continue it where it was interrupted.

        An experiment that the ledger knows is opened without a call to the platform. A name or
        ``uid`` that the ledger does not know is looked for at the platform, so that a lost disk, or
        one restored from an older copy, loses no job. Without a name that is needed only if this
        process found the ledger empty, or an earlier attempt of the flow run may have used another
        ledger. The session is opened, or reattached to, when it is first needed.
        Within one attempt of a flow run, opening an experiment again returns the same object.

        Args:
            name: A name resumes across flow runs. ``None`` stands for the place where it is opened:
                the outermost flow run, each subflow on the way down, and this Block. So every retry
                finds its own experiment, and two subflows or two Blocks never share one.
            fresh: Start the next experiment of this name. A retry of the flow run that started it
                continues it.
            extend: If the experiment is finished, go on with it: open its next chapter. A retry of
                the flow run that opened the chapter goes on with that one. Recorded requests are
                answered from the records, of earlier chapters too, and new ones are submitted.
                :attr:`session_block.Experiment.previous` is the report of the chapter before.
            uid: Take the experiment of this name that has this UID. If the ledger does not know it
                and it is another owner's, its session is borrowed: it stays open.
            key: In a subflow, what tells this call from other calls of the same flow, in place of
                its parameters. Use it if a retry gets other parameters, such as a temporary folder.
                In the outermost flow, it tells several experiments of one Block apart.
            problem: What the experiment is about, as a JSON value; if it began with another
                problem, it is refused. See :meth:`session_block.Experiment.require_problem`.

        Raises:
            LabelRequiredError: Without a name: there is no flow run, or its place cannot be
                counted, as in a flow that a task calls, or another Block without a name differs
                only in its API key.
            ExperimentDivergedError: Without a name: a retried flow run calls a subflow with other
                parameters.
            InvalidInputError: The experiment began with another account, instance, mode, backend or
                problem, or the ledger does not know it and the platform has several of this name,
                or only those of another owner.
            ConnectionFailedError: The platform has to be asked, and cannot be reached.
            LedgerError: The ledger cannot be read or trusted.

        Examples:
            >>> with block.experiment("bell-pairs") as experiment:
            ...     result = experiment.run_sampler([circuit], shots=1000)
            >>> again = block.experiment("bell-pairs")
            >>> again.resumed, again.sealed, again.recorded_results
            (True, True, 1)
            >>> another = block.experiment("bell-pairs", fresh=True)
            >>> another.resumed, another.recorded_results
            (False, 0)
        """
        from session_block import prefect_context
        from session_block.experiments.experiment import Experiment
        from session_block.experiments.flow_places import (
            asker_here,
            place_of_outermost_run,
            shared_attempt,
        )
        from session_block.experiments.openings import OPENINGS
        from session_block.experiments.run_end import seal_if_completed
        from session_block.records.chapters import extend as open_next_chapter
        from session_block.records.chapters import latest_chapter
        from session_block.records.identity import identify
        from session_block.records.journal import Journal

        _check_arguments(name, key, fresh=fresh, extend=extend)
        ledger = self.ledger()
        connection = self._connection(ledger)
        if name is None:
            place = OPENINGS.place((ledger, key), lambda: self._place(ledger, key))
            within = None
        else:
            place = place_of_outermost_run()
            within = OPENINGS.place("shared", shared_attempt)
        identity = identify(
            ledger,
            name,
            fresh=fresh,
            uid=uid,
            place=place,
            block=self._source.block or self._as_unsaved,
            find_lost=partial(self._experiments_at, connection),
            find_newest=partial(self._experiments_at, connection, newest=True),
        )
        # Only flow runs are retried automatically; outside a flow, a repeated call is on purpose.
        most = None if prefect_context.flow_attempt() is None else self.max_attempts

        self._keep_copy(ledger)
        if identity.resumed:
            seal_if_completed(identity, ledger, within)
        if extend:
            calls = OPENINGS.place(("extended", identity.uid), count)
            asker = None if place is None else asker_here(ledger) or place.asker
            open_next_chapter(Journal(ledger, identity.uid), asker, next(calls) + 1)
        settings = self._settings()

        def make() -> Experiment:
            experiment = Experiment(identity, ledger, connection, settings, within=within)
            _OPENED_WITH[experiment] = self.credentials, settings
            experiment.note_attempt(most)
            return experiment

        chapter = latest_chapter(Journal(ledger, identity.uid)) if identity.resumed else 1
        opened = OPENINGS.open((identity.uid, chapter, self.backend_name), make, within)
        opened.note_attempt(most)  # of this flow run, if another one has opened it
        if prefect_context.inside():
            opened.watch()
        credentials, first = _OPENED_WITH[opened]
        if name is None and not may_be_one_account(credentials, self.credentials):
            raise LabelRequiredError(
                "Two Blocks that differ only in their API keys open experiments without names, "
                "and a retry could not tell them apart. Save the Blocks, set their instances, or "
                "name the experiments.",
                experiment=opened.uid,
            )
        if first != settings:
            _logger.warning(
                "Experiment %s is open with other settings of its Block, and keeps them until the "
                "flow run's next attempt. If this is another Block, name its experiment.",
                identity,
            )
        if problem is not None:
            opened.require_problem(problem)
        return opened

    def attach(self, session: SessionRef) -> Experiment:
        """Join an experiment that another process has opened; requests then need labels.

        Raises:
            InvalidInputError: The ledger does not know the experiment of the reference.

        Examples:
            In another process, with the reference that it was given:

            >>> joined = block.attach(experiment.session_ref)
            >>> result = joined.run_sampler([circuit], shots=1000, label="in-a-worker")
            >>> result[0].data.meas.num_shots
            1000
        """
        from session_block.records.identity import Identity
        from session_block.records.journal import Journal
        from session_block.records.keys import ExperimentBegan

        # In job mode it has no session.
        if Journal(self.ledger(), session.uid).get(ExperimentBegan) is None:
            raise InvalidInputError(
                f"This ledger does not know experiment {session.experiment!r} number "
                f"{session.number}. Use the ledger that it was opened in."
            )
        identity = Identity(session.experiment, session.number, session.uid, resumed=True)
        return self.open(identity, block=session.block)

    def open(self, identity: Identity, *, block: str | None = None) -> Experiment:
        """Open a known experiment beside the process that opened it; requests then need labels.

        Args:
            identity: The experiment.
            block: The name of the Block that opened it; by default this Block's name.

        Examples:
            >>> view = Experiment.load("example")
            >>> beside = block.open(view.identity)
            >>> beside.run_sampler([circuit], shots=1000, label="beside")[0].data.meas.num_shots
            1000
        """
        from session_block.experiments.experiment import Experiment

        ledger = self.ledger()
        connection = self._connection(ledger)
        return Experiment(identity, ledger, connection, self._settings(block), opener=False)

    def _connection(self, ledger: Ledger) -> Connection:
        from session_block.client import Connection

        return Connection(self.credentials, ledger.environment)

    def _settings(self, block: str | None = None) -> Settings:
        name = block or self._known_name
        return Settings(self._plan, self._policies, name, self._source)

    def _place(self, ledger: Ledger, key: str | None) -> RunPlace | None:
        from session_block.experiments.flow_places import place_of_this_run

        return place_of_this_run(ledger, key, may_diverge=self._policies.may_diverge)

    @property
    def _known_name(self) -> str | None:
        """The name under which it was saved, also of a copy."""
        return self._block_document_name or self._copied_name

    def as_copy_of(self, name: str) -> Self:
        """Return this Block as a ledger's copy of the one that is saved under a name.

        Examples:
            >>> copy = block.as_copy_of("my-session")
            >>> copy.backend_name == block.backend_name
            True
        """
        copy = self.model_copy()
        copy._copied_name = name  # noqa: SLF001 - this class's
        return copy

    def _keep_copy(self, ledger: Ledger) -> None:
        """Leave in the ledger what commands need of the Block where no Prefect server answers."""
        from session_block.blocks.copies import copy_of
        from session_block.records.block_copies import keep_copy

        name = self._block_document_name
        if name is not None and self._all_fields == self._as_saved:
            keep_copy(ledger, copy_of(name, self))

    @property
    def _source(self) -> Source:
        """Whose sessions the Block opens; by its saved name only if it is as it was saved."""
        unchanged = self._sessions_opened == self._opened_as_saved
        name = self._known_name if unchanged else None
        return replace(source_of(self.credentials), block=name, owner=self.owner)

    @property
    def _sessions_opened(self) -> str:
        """What tells the Block's sessions and circuits from others', as text without secrets."""
        source = source_of(self.credentials)
        told = [source.account, source.instance, self.backend_name, self.mode]
        circuits = [self.min_num_qubits, self.use_fractional_gates, self.calibration_id]
        return json.dumps([*told, *circuits])

    @property
    def _all_fields(self) -> list[Any]:
        """All that is saved of the Block, for comparison."""
        kind = type(self.credentials)
        own = [getattr(self, name) for name in type(self).model_fields if name != "credentials"]
        return [kind, *(getattr(self.credentials, name) for name in kind.model_fields), *own]

    @property
    def _as_unsaved(self) -> str:
        """What tells the Block from others if it is not saved as it is."""
        name = self.credentials._block_document_name  # noqa: SLF001 - as Prefect's own Blocks do
        return json.dumps([self._sessions_opened, name, self.max_time])

    def _experiments_at(
        self, connection: Connection, name: str, *, newest: bool = False
    ) -> list[Lost]:
        """Return the experiments of this name that have jobs, or newest jobs, at the platform."""
        from session_block.records.identity import lost_among
        from session_block.tags import name_tag, owner_digest

        jobs = connection.jobs.named(name_tag(name), newest=newest)
        owner = self.owner or connection.identity
        return lost_among(jobs, None if owner is None else owner_digest(owner))

    def ledger(self) -> Ledger:
        """Return the ledger, opened once in each process.

        Examples:
            >>> ledger = block.ledger()
            >>> ledger.count(experiment.uid, "experiment") > 0
            True
        """
        from session_block.ledger.store import open_ledger
        from session_block.ledger.urls import default_ledger_url

        url = (
            default_ledger_url() if self.ledger_url is None else self.ledger_url.get_secret_value()
        )
        return open_ledger(url)

    aexperiment = aio.async_twin(experiment)  # type: ignore[pydantic-field]  # no field
    aattach = aio.async_twin(attach)  # type: ignore[pydantic-field]
    aopen = aio.async_twin(open)  # type: ignore[pydantic-field]  # noqa: A003 - this class's
    aledger = aio.async_twin(ledger)  # type: ignore[pydantic-field]


def _check_arguments(name: str | None, key: object, *, fresh: bool, extend: bool) -> None:
    if key is not None and (name is not None or not isinstance(key, str)):
        raise InvalidInputError(
            f"key={key!r} does not fit: a key is text, for an experiment without a name. Leave "
            "out the name or the key."
        )
    if extend and (fresh or name is None):
        raise InvalidInputError(
            "extend=True goes on with a finished experiment, so it needs the experiment's name, "
            "and fresh=True does not go with it. Leave out one of them, or give the name."
        )


def _given(client: PrefectClient | None) -> dict[str, PrefectClient]:
    """Return the client as Prefect takes it: by name, and not at all if it is to make one."""
    return {} if client is None else {"client": client}


def block_name(block: str | QuantumSession) -> str:
    """Return the name of a saved Block: of the Block itself, or as Prefect writes it.

    Flow runs and tasks take names, because Prefect stores their parameters and masks the secrets of
    a Block in them for good.

    Args:
        block: A saved Block, its name, or its type and name, as in ``quantum-session/my-block``.

    Raises:
        InvalidInputError: The Block was never saved, or was changed afterwards; or it is of another
            type, or no Block.

    Example::

        >>> block_name("quantum-session/my-block")
        'my-block'
    """
    if isinstance(block, QuantumSession):
        return _saved_name(block)
    if not isinstance(block, str):
        raise InvalidInputError(
            f"A {type(block).__name__} was given for a Block. Give the name of a saved "
            "QuantumSession Block, as text."
        )
    slug, slash, name = block.rpartition("/")
    if slash and slug != QuantumSession.get_block_type_slug():
        raise InvalidInputError(
            f"Block {block!r} is of the type {slug!r}. Give the name of a QuantumSession Block, "
            f"such as '{QuantumSession.get_block_type_slug()}/{name or 'my-block'}'."
        )
    return name


def _saved_name(block: QuantumSession) -> str:
    name = block._block_document_name  # noqa: SLF001 - as Prefect's own Blocks do
    if name is None:
        raise InvalidInputError(
            "The given QuantumSession Block was never saved, and only the name of a Block is "
            "stored with a run. Save it with block.save('my-block') and give 'my-block', or open "
            "the experiment yourself: block.experiment(…)."
        )
    if block._all_fields != block._as_saved:  # noqa: SLF001
        raise InvalidInputError(
            f"The given QuantumSession Block {name!r} was changed since it was loaded or saved, "
            f"and only its name is stored with a run. Save it with block.save({name!r}, "
            "overwrite=True), or give the name of another Block."
        )
    return name


def load_block(block: str | QuantumSession) -> QuantumSession:
    """Load a saved Block.

    Args:
        block: Its name, or what else :func:`block_name` takes.

    Raises:
        InvalidInputError: There is no such Block, or its fields are not valid.

    Examples:
        >>> load_block("my-session").backend_name
        'ibm_manila'
        >>> load_block("my-sesion")
        Traceback (most recent call last):
        ...
        session_block.errors.InvalidInputError: Prefect knows no QuantumSession Block ...
    """
    name = block_name(block)
    try:
        return QuantumSession.load(name)
    except ValueError as error:
        raise InvalidInputError(
            f"Prefect knows no QuantumSession Block {name!r}: {error}. Save one of that name, or "
            "check which Prefect server (PREFECT_API_URL) this process uses."
        ) from error
    except RuntimeError as error:
        if not isinstance(error.__cause__, ValidationError):
            raise
        raise InvalidInputError(
            f"The QuantumSession Block {name!r} was saved with fields that are not valid: "
            f"{reasons(error.__cause__)} Edit it in Prefect's UI, or save it anew."
        ) from error
