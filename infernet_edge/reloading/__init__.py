"""Applies a changed configuration while the node runs, without interrupting jobs."""
