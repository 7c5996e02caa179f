"""The HTTP side: IBM's paths and the platform's own, from request to answer.

Each module ``routes_*`` has the operations on one kind of resource. :mod:`.app` combines them, and
:mod:`.http` translates between them and HTTP. The logic of jobs and sessions is not here.
"""
