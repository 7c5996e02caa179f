"""Experiments that are killed, cut off and raced everywhere, counted at the platform's server."""
