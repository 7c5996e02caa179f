"""Each job exactly once: decide, submit, settle, wait."""
