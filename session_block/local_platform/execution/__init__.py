"""What becomes of a job's circuits: simulated in worker processes, with or without noise.

:mod:`.simulation` is what the server calls. It asks :mod:`.worker_pool`, whose processes are
:mod:`.worker`, and these run :mod:`.programs`.
"""
