"""Prefect flows: what people schedule, and the examples they copy."""
