"""Scripted faults: rules as users write them, kept, and carried out on the calls that they hit."""
