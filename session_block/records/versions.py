"""Versions of the rules that recognise an experiment's jobs; an experiment keeps its own for life.

Three rules find again what an experiment has bought: which experiment is opened (the identity
rule), which submission a request is (the fingerprint), and what a job's tags say. All three are
durable data. A fix of one of them is a new version, and the old version stays: with another rule a
running experiment would not find its jobs and would buy them again.

========  ===================================================================================
rule      versions
========  ===================================================================================
identity  1: the outermost flow run's ID, or the name that the user gives;
          2: without a name, the place where it is opened (:mod:`session_block.records.places`)
finger-   1: a request's structure and names (:mod:`session_block.pubs.fingerprint`);
print     2: without the names that nobody gave
tags      1: core and flags, which are matched together;
          2: the core alone is matched, and a suffix says everything else;
          3: the suffix also says whose the job is
========  ===================================================================================
"""

from __future__ import annotations

from dataclasses import astuple, dataclass

from session_block.errors import LedgerVersionError

SCHEMA_OF_FIRST = 1
SCHEMA_OF_LATER = 2
"""The schema version of a ledger that holds experiments of later rules. Older programs do not know
these rules, so they must refuse the ledger."""


@dataclass(frozen=True)
class Versions:
    """The versions of the rules that recognise one experiment.

    Examples:
        >>> experiment.versions
        Versions(identity=2, fingerprint=2, tags=3)
    """

    identity: int = 1
    fingerprint: int = 1
    tags: int = 1

    @property
    def schema(self) -> int:
        """The schema version that a ledger needs to hold such an experiment.

        Examples:
            >>> Versions(identity=1, fingerprint=1, tags=1).schema, experiment.versions.schema
            (1, 2)
        """
        return SCHEMA_OF_FIRST if self == FIRST else SCHEMA_OF_LATER

    def check_known(self, experiment: str) -> None:
        """Check that this program knows all these versions.

        Args:
            experiment: The experiment, for the message.

        Raises:
            LedgerVersionError: A newer version of this package began the experiment.

        Examples:
            >>> Versions(identity=9).check_known("'bell-pairs'")
            Traceback (most recent call last):
            ...
            session_block.errors.LedgerVersionError: Experiment 'bell-pairs' was begun ...
        """
        newer = [
            f"{name} {own} (this one knows up to {known})"
            for name, own, known in zip(
                ("identity rule", "fingerprint", "grammar of tags"),
                astuple(self),
                astuple(CURRENT),
                strict=True,
            )
            if own > known
        ]
        if newer:
            raise LedgerVersionError(
                f"Experiment {experiment} was begun by a newer version of this package: "
                f"{', '.join(newer)}. Nothing was submitted. Upgrade prefect-quantum-sessions.",
                experiment=experiment,
            )


FIRST = Versions()
"""The versions of experiments that record none."""

CURRENT = Versions(identity=2, fingerprint=2, tags=3)
"""The versions of new experiments."""
