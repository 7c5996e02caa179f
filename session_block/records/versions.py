"""Versions of the rules that recognise experiments, requests and jobs; an experiment keeps its own.

What an experiment has bought is found again by three rules: which experiment an opening is (the
identity rule), which submission a request is (the fingerprint), and what a job's tags say. All
three are durable data. A mend of one of them is a new version, and the old one stays: a running
experiment that met another rule would not find its jobs, and would buy them again.

========  ===================================================================================
rule      versions
========  ===================================================================================
identity  1: the outermost flow run's ID, or the name that the user gives
finger-   1: :func:`session_block.pubs.fingerprint.fingerprint_request`
print
tags      1: core and flags, which are matched together;
          2: the core alone is matched, and a suffix says everything else
========  ===================================================================================
"""

from __future__ import annotations

from dataclasses import astuple, dataclass

from session_block.errors import LedgerVersionError

SCHEMA_OF_FIRST = 1
SCHEMA_OF_LATER = 2
"""The schema version of a ledger that holds experiments of later rules: older programs, which do
not know that there are any, refuse it."""


@dataclass(frozen=True)
class Versions:
    """The versions of the rules that recognise one experiment."""

    identity: int = 1
    fingerprint: int = 1
    tags: int = 1

    @property
    def schema(self) -> int:
        """The schema version that a ledger needs to hold such an experiment."""
        return SCHEMA_OF_FIRST if self == FIRST else SCHEMA_OF_LATER

    def check_known(self, experiment: str) -> None:
        """Check that this program knows all these versions.

        Raises:
            LedgerVersionError: A newer program began the experiment.
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
"""Of experiments that do not say theirs."""

CURRENT = Versions(tags=2)
"""Of experiments that begin now."""
