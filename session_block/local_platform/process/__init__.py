"""The server's process: start it, find it, embed it, administer it."""
