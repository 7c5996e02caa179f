"""The deployments, and templates of their infrastructure, as data of the installed package."""

if __name__ == "deployments":  # in a checkout, by the directory's own name
    from session_block import _same_modules

    _same_modules(__name__)
