"""The backends: IBM's devices as they were recorded, and the calibrations made since."""
