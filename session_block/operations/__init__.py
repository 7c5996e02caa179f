"""What an operator asks and does: look, settle, close, export, compare."""
