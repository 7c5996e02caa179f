"""Prefect flows: what people schedule, and the examples they copy."""

# Prefect sends a served flow to the process of its run by cloudpickle. The flow's function arrives
# with what its code names, and without its module. So the module of a flow does not postpone its
# annotations, whose names would be unknown there, and defines nothing but the flow: all else is
# imported from modules that any process finds.

if __name__ == "flows":  # in a checkout, by the directory's own name
    from session_block import _same_modules

    _same_modules(__name__)
