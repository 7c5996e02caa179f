"""Benchmarks: ``python -m benchmarks.run`` measures, judges, and writes a table and a figure.

Each part measures this package, the bare client's own loop and, if they can be installed, other
packages: in one run, against one local platform over HTTP, each in a fresh process. The timed code
is neither patched nor instrumented.
"""
