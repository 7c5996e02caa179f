"""Checks of the machine, the platform and a live account, and the set-up for IBM Quantum."""
