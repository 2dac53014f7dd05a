"""The configuration: `load()` returns a Config or raises a ConfigurationError with every error."""

from infernet_edge.config.errors import ConfigurationError, Problem
from infernet_edge.config.loading import Loaded, load
from infernet_edge.config.model import Config

__all__ = ["Config", "ConfigurationError", "Loaded", "Problem", "load"]
