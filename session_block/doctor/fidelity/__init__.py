"""A suite of requests, and what IBM Quantum answers to them, to run against any platform.

What is asked and expected is data: ``sources.yaml`` lists who says so, ``set_ups.yaml`` how the
sessions and jobs come about that some requests need, and ``cases/*.yaml`` the cases. ``case`` reads
them, ``reply`` compares an answer with what is expected, ``target`` sends requests, ``payloads``
are what jobs run, ``calls`` are those of the unmodified client, ``suite`` runs it all within a
bound, and ``record`` writes down what was seen.
"""
