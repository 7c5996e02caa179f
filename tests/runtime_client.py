"""The client's class that asks the platform, where each version has it."""

from __future__ import annotations

try:
    from qiskit_ibm_runtime.api.client import RuntimeClient
except ImportError:  # before 0.51
    from qiskit_ibm_runtime.api.clients.runtime import RuntimeClient

__all__ = ["RuntimeClient"]
