"""Parts of running jobs: calls of containers for the chain."""
