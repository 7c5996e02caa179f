"""Durable IBM Quantum sessions for Prefect 3.

A :class:`QuantumSession` Block opens experiments; an experiment submits each of its jobs exactly
once, inside one session, whatever happens to the process. Importing this package loads no Qiskit:
Prefect imports it whenever a server starts.
"""

from session_block.block import QuantumSession
from session_block.credentials import IBMSessionCredentials, LocalPlatformCredentials
from session_block.errors import SessionBlockError
from session_block.references import JobRef, SessionDetails, SessionRef

__all__ = [
    "IBMSessionCredentials",
    "JobRef",
    "LocalPlatformCredentials",
    "QuantumSession",
    "SessionBlockError",
    "SessionDetails",
    "SessionRef",
]
