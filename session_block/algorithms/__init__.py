"""VQE, QAOA and parameter sweeps, each run by a durable experiment."""
