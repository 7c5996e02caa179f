"""Open a session, join one, renew it, close it."""
