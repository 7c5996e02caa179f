"""Limits, seconds and forecasts."""
