"""What people look at outside Prefect's UI: HTML for notebooks, and figures."""
