"""VQE, QAOA and sweeps, each on an experiment."""
