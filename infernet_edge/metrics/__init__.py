"""What the parts of the node count, and the text formats of Prometheus for it."""
