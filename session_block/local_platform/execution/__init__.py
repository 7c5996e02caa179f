"""Simulates a job's circuits in worker processes, with or without noise.

The server calls :mod:`.simulation`. It sends jobs to the :mod:`.worker_pool`. Each process of the
pool is a :mod:`.worker` that runs :mod:`.programs`.
"""
