"""Prefect flows: what people schedule, and the examples they copy."""

if __name__ == "flows":  # in a checkout, by the directory's own name
    from session_block import _same_modules

    _same_modules(__name__)
