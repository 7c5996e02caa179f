"""Requests with their fingerprints and options, and the encoding of results."""
