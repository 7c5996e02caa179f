"""The HTTP side: IBM's paths and the platform's own, from a request to its answer.

Each module ``routes_*`` has the operations on one kind of thing; :mod:`.app` puts them together,
and :mod:`.http` stands between them and HTTP. What below is done to jobs and sessions is not here.
"""
