"""Open, join, renew and close sessions."""
