"""Parameter sweeps: a grid of parameters, circuits and repetitions, in jobs of bounded size."""
