"""infernet-edge: an Infernet node for edge hardware."""

__version__ = "0.1.0"

INFERNET_VERSION = "1.4.0"
"""The version of the Infernet node whose REST API this one speaks; clients compare it."""
