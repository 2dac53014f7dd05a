"""The control socket, on which commands request reports from the running node."""
