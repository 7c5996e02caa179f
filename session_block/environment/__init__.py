"""What the core takes from the world around it: clock, pause, IDs, randomness, process, store."""
