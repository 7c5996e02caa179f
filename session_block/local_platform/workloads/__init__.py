"""Jobs and sessions: kept, queued, run and ended at their time."""
