"""The blocking HTTP client of the command line: to the local node, or to another one by its URL."""
