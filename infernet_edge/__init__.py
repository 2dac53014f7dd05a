"""infernet-edge: an Infernet node for edge hardware."""

__version__ = "0.1.0"

RELEASED = "2026-11-01"
"""A day before which no clock is right where this version runs; it moves on with the version."""

INFERNET_VERSION = "1.4.0"
"""The version of the Infernet node whose REST API this one speaks; clients compare it."""
