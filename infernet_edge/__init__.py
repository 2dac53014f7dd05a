"""infernet-edge: an Infernet node for edge hardware."""

__version__ = "0.1.0"

RELEASED = "2026-11-01"
"""The date of this version, updated with it: a clock that shows an earlier date is wrong."""

INFERNET_VERSION = "1.4.0"
"""The version of the Infernet node whose REST API this node implements; clients compare it."""
