"""The outside world as the core sees it: clock, pause, IDs, randomness, process, store."""
