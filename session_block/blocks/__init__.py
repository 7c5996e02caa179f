"""What is saved and has a form: the Blocks of sessions and credentials."""
