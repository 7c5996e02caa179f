"""What Prefect's UI shows of an experiment."""
