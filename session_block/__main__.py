"""``python -m session_block`` is ``session-block``."""

from session_block.cli import main

if __name__ == "__main__":
    main()
