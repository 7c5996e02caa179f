"""The Blocks of sessions and credentials, which Prefect saves and shows as forms."""
