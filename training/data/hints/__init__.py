"""Advice on what training found in the records and does not act upon."""
