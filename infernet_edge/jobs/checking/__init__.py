"""Checks of requests that need more than the rules of the guardian."""
