"""The Block: whose sessions, on which backend, for how long."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import prefect  # noqa: F401 - in its own order its parts are imported a tenth faster
from pydantic import ValidationError

from session_block import aio
from session_block.block_settings import SessionSettings
from session_block.credentials import DOCUMENTATION_URL, LOGO_URL
from session_block.errors import InvalidInputError
from session_block.forms import FormBlock, reasons

if TYPE_CHECKING:
    from session_block.experiment import Experiment
    from session_block.identity import Identity
    from session_block.ledger import Ledger
    from session_block.references import SessionRef


_openings: dict[tuple[str, str | None, tuple[str, int] | None], Experiment] = {}
"""The experiments that flow runs of this process have open, each counting its requests once."""

_openings_lock = threading.Lock()


class QuantumSession(SessionSettings, FormBlock):
    """How to open an IBM Quantum session: credentials, backend and longest duration.

    Pass its *name* to flows, and load it inside: Prefect stores the parameters of a flow run, and
    masks secrets in them for good.

    Note:
        Loading it makes no network call.

    Example:
        Open an experiment, or go on with it where it was interrupted:

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
        """Open an experiment: a new one, or the one of this name where it was interrupted.

        Makes no network call but with an empty ledger, which looks for the name at the platform:
        a lost disk loses no job. The session is opened, or reattached to, when it is first needed.
        Within one try of a flow run, an experiment that is opened again is the very same object.

        Args:
            name: Resumes across flow runs. ``None`` stands for the outermost flow run, whose
                retries all are the same experiment.
            fresh: Start the next experiment of this name. A retry of the flow run that did so goes
                on with that one.
            uid: Take the experiment of this name that has this UID.

        Raises:
            InvalidInputError: There is no flow run and no name, the experiment began on another
                backend, or an empty ledger finds several of this name at the platform.
            ConnectionFailedError: The ledger is empty, and the platform cannot be reached.
            LedgerError: The ledger cannot be read or trusted.
        """
        from session_block import runs
        from session_block.experiment import Experiment
        from session_block.identity import identify

        ledger = self.ledger()
        identity = identify(
            ledger,
            name,
            fresh=fresh,
            uid=uid,
            flow_run_id=runs.root_flow_run_id(),
            find_lost=self._experiments_named,
        )
        opening = (identity.uid, self.backend_name, runs.flow_attempt())
        with _openings_lock:
            if opening in _openings:
                return _openings[opening]
            experiment = Experiment(
                identity=identity,
                ledger=ledger,
                account=self.credentials.account,
                plan=self._plan,
                block=self._block_document_name,
                policies=self._policies,
            )
            experiment.note_attempt(self.max_attempts if runs.inside() else None)
            if runs.inside():
                _openings[opening] = experiment
                experiment.watch()
        return experiment

    def attach(self, session: SessionRef) -> Experiment:
        """Join an experiment that another process has opened; requests then need labels.

        Raises:
            InvalidInputError: The reference is of another experiment than this ledger knows.
        """
        from session_block.identity import Identity
        from session_block.session_records import read_sessions

        if not read_sessions(self.ledger(), session.uid):
            raise InvalidInputError(
                f"This ledger does not know experiment {session.experiment!r} number "
                f"{session.number}. Use the ledger in which it was opened."
            )
        identity = Identity(session.experiment, session.number, session.uid, resumed=True)
        return self.open(identity, block=session.block)

    def open(self, identity: Identity, *, block: str | None = None) -> Experiment:
        """Open a known experiment from beside; requests then need labels.

        Args:
            identity: The experiment.
            block: The name of the Block that opened it; by default this one's.
        """
        from session_block.experiment import Experiment

        return Experiment(
            identity=identity,
            ledger=self.ledger(),
            account=self.credentials.account,
            plan=self._plan,
            block=block or self._block_document_name,
            opener=False,
            policies=self._policies,
        )

    def _experiments_named(self, name: str) -> list[str]:
        """Return the UIDs of the experiments whose jobs bear a name at the platform."""
        from session_block.client import Connection
        from session_block.tags import name_tag, uid_of

        jobs = Connection(self.credentials.account()).jobs.named(name_tag(name))
        return list(dict.fromkeys(uid for job in jobs if (uid := uid_of(job.tags))))

    def ledger(self) -> Ledger:
        """Return the ledger, opened once in each process."""
        from session_block.ledger import open_ledger
        from session_block.ledger_urls import default_ledger_url

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
