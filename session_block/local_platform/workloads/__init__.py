"""Jobs and sessions: store them, queue them, run them, and end them when due."""
