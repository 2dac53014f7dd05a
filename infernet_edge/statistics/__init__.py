"""Counts of what happened lately, in memory: nothing of it is stored."""
