"""Immutable facts, create-if-absent: what must outlive the process that wrote it."""
