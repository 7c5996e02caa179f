"""The core in a simulated world: the real code, virtual time, a seed that decides everything."""
