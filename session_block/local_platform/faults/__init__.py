"""Scripted faults: the rules that users write, their store, and the choice of calls to hit."""
