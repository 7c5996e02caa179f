"""The backends: recordings of IBM's devices, and the calibrations made since."""
