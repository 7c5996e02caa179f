"""What the facts of a ledger mean; no Qiskit, no network."""
