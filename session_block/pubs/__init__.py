"""What is to be run and what came of it: requests, their fingerprints, options and results."""
