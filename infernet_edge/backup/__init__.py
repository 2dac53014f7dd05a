"""Backups of a node: what is in them, how they are written, checked and restored."""
