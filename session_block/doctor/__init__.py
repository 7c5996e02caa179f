"""Check the machine, the platform and a live account, and set up IBM Quantum."""
