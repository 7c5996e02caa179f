"""The Block: whose sessions, on which backend, for how long."""

from __future__ import annotations

import os
import threading
from functools import cache
from typing import TYPE_CHECKING

from pydantic import Field, SecretStr, field_validator

from session_block.credentials import (
    DOCUMENTATION_URL,
    LOGO_URL,
    IBMSessionCredentials,
    LocalPlatformCredentials,
    StrictBlock,
)
from session_block.durations import max_time_seconds
from session_block.errors import InvalidInputError
from session_block.ledger import Ledger, default_ledger_url

if TYPE_CHECKING:
    from session_block.experiment import Experiment
    from session_block.references import SessionRef


_openings: dict[tuple[str, str, tuple[str, int] | None], Experiment] = {}
"""The experiments that flow runs of this process have open, each counting its requests once."""

_openings_lock = threading.Lock()


class QuantumSession(StrictBlock):
    """How to open an IBM Quantum session: credentials, backend and longest duration.

    Loading it makes no network call. Pass its *name* to flows, and load it inside: Prefect stores
    the parameters of a flow run, and masks secrets in them for good.

    Example:
        Open an experiment, or go on with it where it was interrupted:

        ```python
        from session_block import QuantumSession

        block = QuantumSession.load("BLOCK_NAME")
        with block.experiment("bell-pairs") as experiment:
            circuit = experiment.transpile(bell_circuit)
            result = experiment.run_sampler([circuit], shots=1000)
        ```
    """

    _block_type_name = "Quantum Session"
    _block_type_slug = "quantum-session"
    _logo_url = LOGO_URL
    _documentation_url = DOCUMENTATION_URL

    credentials: IBMSessionCredentials | LocalPlatformCredentials = Field(
        default=..., description="Whose account to use: IBM's, or the local platform's."
    )
    backend_name: str = Field(
        default=...,
        title="Backend",
        min_length=1,
        description="Name of the backend on which the session runs.",
        examples=["ibm_fez"],
    )
    max_time: int | str | None = Field(
        default=None,
        title="Maximum time",
        description=(
            "Longest time the session may be open, in seconds or as text such as '2h 30m 40s'; "
            "empty for the platform's own maximum."
        ),
    )
    ledger_url: SecretStr | None = Field(
        default=None,
        title="Ledger URL",
        description=(
            "Database that remembers every job, as an SQLAlchemy URL; several machines share one "
            "PostgreSQL. Empty for an SQLite file under PREFECT_HOME."
        ),
    )

    @field_validator("max_time")
    @classmethod
    def _max_time_is_a_duration(cls, max_time: int | str | None) -> int | str | None:
        max_time_seconds(max_time)
        return max_time

    def experiment(self, name: str | None = None, *, fresh: bool = False) -> Experiment:
        """Open an experiment: a new one, or the one of this name where it was interrupted.

        Makes no network call; the session is opened, or reattached to, when it is first needed.
        Within one try of a flow run, an experiment that is opened again is the very same object.

        Args:
            name: Resumes across flow runs. ``None`` stands for the outermost flow run, whose
                retries all are the same experiment.
            fresh: Start the next experiment of this name. A retry of the flow run that did so goes
                on with that one.

        Raises:
            InvalidInputError: There is no flow run and no name, or the experiment began on another
                backend.
            LedgerError: The ledger cannot be read or trusted.
        """
        from session_block import runs
        from session_block.experiment import Experiment
        from session_block.identity import identify

        ledger = self.ledger()
        identity = identify(ledger, name, fresh=fresh, flow_run_id=runs.root_flow_run_id())
        opening = (identity.uid, self.backend_name, runs.flow_attempt())
        with _openings_lock:
            if opening in _openings:
                return _openings[opening]
            experiment = Experiment(
                identity=identity,
                ledger=ledger,
                account=self.credentials.account,
                backend_name=self.backend_name,
                max_time_seconds=max_time_seconds(self.max_time),
                block=self._block_document_name,
            )
            if runs.inside():
                _openings[opening] = experiment
        return experiment

    def attach(self, session: SessionRef) -> Experiment:
        """Join an experiment that another process has opened; requests then need labels.

        Raises:
            InvalidInputError: The reference is of another experiment than this ledger knows.
        """
        from session_block.experiment import Experiment
        from session_block.identity import Identity
        from session_block.session_records import read_sessions

        ledger = self.ledger()
        if not read_sessions(ledger, session.uid):
            raise InvalidInputError(
                f"This ledger does not know experiment {session.experiment!r} number "
                f"{session.number}. Use the ledger in which it was opened."
            )
        return Experiment(
            identity=Identity(session.experiment, session.number, session.uid, resumed=True),
            ledger=ledger,
            account=self.credentials.account,
            backend_name=self.backend_name,
            max_time_seconds=max_time_seconds(self.max_time),
            block=session.block,
            opener=False,
        )

    def ledger(self) -> Ledger:
        """Return the ledger, opened once in each process."""
        url = (
            default_ledger_url() if self.ledger_url is None else self.ledger_url.get_secret_value()
        )
        return _open_ledger(url, os.getpid())


def load_block(name: str) -> QuantumSession:
    """Load a Block by its name, from synchronous code.

    Raises:
        InvalidInputError: There is no such Block, or the caller is asynchronous.
    """
    try:
        loaded = QuantumSession.load(name)
    except ValueError as error:
        raise InvalidInputError(
            f"Prefect knows no QuantumSession Block {name!r}: {error}. Save one of that name, or "
            "check which Prefect server (PREFECT_API_URL) this process uses."
        ) from error
    if not isinstance(loaded, QuantumSession):
        loaded.close()
        raise InvalidInputError(
            f"Block {name!r} was to be loaded inside an event loop. Call this from a synchronous "
            "flow or task."
        )
    return loaded


@cache
def _open_ledger(url: str, _pid: int) -> Ledger:
    return Ledger(url)
