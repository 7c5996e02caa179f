"""Limit, measure and estimate what experiments cost."""
