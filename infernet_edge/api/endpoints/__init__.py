"""Endpoints beyond the REST API reference, and what they read from requests."""
