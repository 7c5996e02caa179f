"""The Block: account, backend and duration of sessions, and how experiments are opened."""

from __future__ import annotations

from typing import TYPE_CHECKING

import prefect  # noqa: F401 - imported whole and first, Prefect loads a tenth faster
from pydantic import ValidationError

from session_block import aio
from session_block.blocks.credentials import DOCUMENTATION_URL, LOGO_URL
from session_block.blocks.fields import SessionSettings
from session_block.blocks.forms import FormBlock, reasons
from session_block.errors import InvalidInputError
from session_block.settings import Settings

if TYPE_CHECKING:
    from session_block.experiments.experiment import Experiment
    from session_block.ledger.store import Ledger
    from session_block.records.identity import Identity, Lost
    from session_block.references import SessionRef


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

    def experiment(
        self, name: str | None = None, *, fresh: bool = False, uid: str | None = None
    ) -> Experiment:
        """Open a new experiment, or continue the one of this name where it was interrupted.

        Makes no network call, unless the ledger is empty or does not know the ``uid``: then the
        platform is asked for the name, so that a lost disk loses no job. The session is opened, or
        reattached to, when it is first needed.
        Within one attempt of a flow run, opening an experiment again returns the same object.

        Args:
            name: A name resumes across flow runs. ``None`` stands for the outermost flow run; all
                its retries are the same experiment.
            fresh: Start the next experiment of this name. A retry of the flow run that started it
                continues it.
            uid: Take the experiment of this name that has this UID.

        Raises:
            InvalidInputError: There is neither a flow run nor a name, the experiment began on
                another backend, or the ledger is empty and the platform has several of this name.
            ConnectionFailedError: The ledger is empty, and the platform cannot be reached.
            LedgerError: The ledger cannot be read or trusted.
        """
        from session_block import prefect_context
        from session_block.experiments.experiment import Experiment
        from session_block.experiments.openings import OPENINGS
        from session_block.records.identity import identify

        ledger = self.ledger()
        identity = identify(
            ledger,
            name,
            fresh=fresh,
            uid=uid,
            flow_run_id=prefect_context.root_flow_run_id(),
            find_lost=self._experiments_named,
        )
        # Only flow runs are retried automatically; outside a flow, a repeated call is on purpose.
        most = None if prefect_context.flow_attempt() is None else self.max_attempts

        def make() -> Experiment:
            experiment = Experiment(identity, ledger, self.credentials, self._settings())
            experiment.note_attempt(most)
            if prefect_context.inside():
                experiment.watch()
            return experiment

        return OPENINGS.open((identity.uid, self.backend_name), make)

    def attach(self, session: SessionRef) -> Experiment:
        """Join an experiment that another process has opened; requests then need labels.

        Raises:
            InvalidInputError: The ledger does not know the experiment of the reference.
        """
        from session_block.records.identity import Identity
        from session_block.records.journal import Journal
        from session_block.records.sessions import read_sessions

        if not read_sessions(Journal(self.ledger(), session.uid)):
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
        """
        from session_block.experiments.experiment import Experiment

        settings = self._settings(block)
        return Experiment(identity, self.ledger(), self.credentials, settings, opener=False)

    def _settings(self, block: str | None = None) -> Settings:
        return Settings(self._plan, self._policies, block or self._block_document_name)

    def _experiments_named(self, name: str) -> list[Lost]:
        """Return the experiments of this name that have jobs at the platform."""
        from session_block.client import Connection
        from session_block.records.identity import lost_among
        from session_block.tags import name_tag

        jobs = Connection(self.credentials).jobs.named(name_tag(name))
        return lost_among(job.tags for job in jobs)

    def ledger(self) -> Ledger:
        """Return the ledger, opened once in each process."""
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


def load_block(name: str) -> QuantumSession:
    """Load a Block by its name, from synchronous code or in the thread of an async twin.

    Raises:
        InvalidInputError: There is no such Block, its fields are not valid, or this thread runs an
            event loop.
    """
    try:
        loaded: QuantumSession = aio.answered(
            QuantumSession.load(name),
            f"Block {name!r}",
            f"Await QuantumSession.aload({name!r}), or a task's async twin, such as aopen_session.",
        )
    except InvalidInputError:
        raise
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
    return loaded
