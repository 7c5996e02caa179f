"""Run each job exactly once: decide, submit, settle, wait."""
