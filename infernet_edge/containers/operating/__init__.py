"""What operators see of containers, and do to them: use, restarts, pulls, logs."""
