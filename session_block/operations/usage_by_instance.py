"""Usage of a ledger's experiments, by instance: from the platform if it is asked, else recorded.

Usage is in seconds as IBM counts them; see :mod:`session_block.costs.usage`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from session_block.errors import InvalidInputError
from session_block.ledger.store import Ledger
from session_block.records.identity import Identity, known_experiments
from session_block.records.journal import Journal
from session_block.records.keys import Intent, SessionIntent
from session_block.records.usage import recorded_usage

if TYPE_CHECKING:
    from session_block.client import Connection


@dataclass(frozen=True)
class UsedByExperiment:
    """What one experiment has used.

    Attributes:
        seconds: What it is charged with so far, according to the source.
        source: Where the figure comes from.
        final: Whether it can grow only if the experiment continues.

    Examples:
        >>> result = experiment.run_sampler([circuit])
        >>> [used, *_] = usage_by_instance(ledger, "example")
        >>> found = used.experiments
        >>> found[-1].identity.name, found[-1].source
        ('example', 'ledger')
    """

    identity: Identity
    seconds: float
    source: Literal["platform", "ledger"]
    final: bool


@dataclass(frozen=True)
class UsedAtInstance:
    """What a ledger's experiments have used at one instance.

    Attributes:
        instance: Its CRN; ``None`` for experiments that have sent nothing yet.
        allocation: What the instance as a whole has used and may use, from the client's
            ``service.usage()``; ``None`` if the platform was not asked.

    Examples:
        >>> from session_block.client import Connection
        >>> [here, *_] = usage_by_instance(ledger, connection=Connection(block.credentials))
        >>> here.seconds == sum(one.seconds for one in here.experiments)
        True
    """

    instance: str | None
    experiments: tuple[UsedByExperiment, ...]
    allocation: dict[str, Any] | None

    @property
    def limit(self) -> str | None:
        """The cost limit in words; ``None`` if there is none, or the platform was not asked.

        Examples:
            >>> from session_block.client import Connection
            >>> [here, *_] = usage_by_instance(ledger, connection=Connection(block.credentials))
            >>> here.limit is None  # this instance has none
            True
        """
        told = self.allocation or {}
        limit = told.get("usage_limit_seconds", told.get("usage_allocation_seconds"))
        if limit is None:
            return None
        reached = "; reached: no job is taken" if told.get("usage_limit_reached") else ""
        return f"{told.get('usage_consumed_seconds', '?')} s used of {limit} s{reached}"

    @property
    def seconds(self) -> float:
        """What the experiments have used together.

        Examples:
            >>> from session_block.client import Connection
            >>> [here, *_] = usage_by_instance(ledger, connection=Connection(block.credentials))
            >>> here.seconds >= 0
            True
        """
        return sum(one.seconds for one in self.experiments)

    def described(self) -> dict[str, Any]:
        """Return it as JSON values.

        Examples:
            >>> result = experiment.run_sampler([circuit])
            >>> [used, *_] = usage_by_instance(ledger, experiment.uid)
            >>> sorted(used.described())
            ['allocation', 'experiments', 'instance', 'seconds']
        """
        return {
            "instance": self.instance,
            "seconds": self.seconds,
            "allocation": self.allocation,
            "experiments": [
                {
                    "experiment": one.identity.name,
                    "number": one.identity.number,
                    "uid": one.identity.uid,
                    "seconds": one.seconds,
                    "source": one.source,
                    "final": one.final,
                }
                for one in self.experiments
            ],
        }


def usage_by_instance(
    ledger: Ledger, experiment: str | None = None, connection: Connection | None = None
) -> list[UsedAtInstance]:
    """Return the usage of an experiment, given by name or UID, or of all experiments.

    Args:
        ledger: The ledger of the experiments; usage that is final is recorded there.
        experiment: A name, which means all experiments of that name, or a UID.
        connection: A connection to an instance; the platform is asked about its experiments.

    Raises:
        InvalidInputError: The ledger knows no such experiment.
        ConnectionFailedError: The platform does not answer.

    Examples:
        >>> result = experiment.run_sampler([circuit])
        >>> for used in usage_by_instance(ledger, experiment.uid):
        ...     print(used.instance, [one.identity.name for one in used.experiments])
        crn:v1:bluemix:public:quantum-computing:us-east:... ['example']
    """
    known = known_experiments(ledger)
    wanted = [one for one in known if experiment in {None, one.name, one.uid}]
    if experiment is not None and not wanted:
        raise InvalidInputError(f"{ledger} has no experiment {experiment!r}.")
    here = None if connection is None else (connection.instance, str(connection.account.url))
    found: dict[str | None, list[UsedByExperiment]] = {}
    if connection is not None:
        found[connection.instance] = []
    for one in wanted:
        place = _place(ledger, one.uid)
        asked = connection if place == here else None
        found.setdefault(place[0], []).append(_used(ledger, one, asked))
    return [
        UsedAtInstance(
            instance,
            tuple(experiments),
            connection.allocation() if connection and instance == connection.instance else None,
        )
        for instance, experiments in found.items()
    ]


def _place(ledger: Ledger, uid: str) -> tuple[str | None, str | None]:
    """Return the instance and URL that an experiment sends everything to."""
    intents = Journal(ledger, uid).several(SessionIntent, Intent)
    latest = intents[-1] if intents else None
    if isinstance(latest, SessionIntent | Intent):
        return latest.instance, latest.url
    return None, None


def _used(ledger: Ledger, identity: Identity, connection: Connection | None) -> UsedByExperiment:
    journal = Journal(ledger, identity.uid)
    if connection is None:
        recorded = recorded_usage(journal)
        return UsedByExperiment(identity, recorded.seconds, "ledger", recorded.complete)
    from session_block.costs.usage import UsageMeter

    meter = UsageMeter(journal, connection)
    seconds = meter.seconds()
    # The meter has recorded what it found to be final.
    return UsedByExperiment(identity, seconds, "platform", recorded_usage(journal).complete)
