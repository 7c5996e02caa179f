"""Everything on one machine: Prefect server, worker, local platform, deployments, demo."""
