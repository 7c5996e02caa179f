"""An embedded IBM Quantum platform."""
