"""Stops containers that no job needs, and starts them again for the next one."""
