"""What an operator can do: look, settle, close, retry, cancel, export, compare."""
