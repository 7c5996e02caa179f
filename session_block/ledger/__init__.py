"""The ledger: immutable facts, created if absent, that outlive the process that wrote them."""
