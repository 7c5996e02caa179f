"""Durable IBM Quantum sessions for Prefect 3."""
