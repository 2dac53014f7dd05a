"""What GET /metrics reports, and where the values are."""
