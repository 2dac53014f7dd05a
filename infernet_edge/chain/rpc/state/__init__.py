"""What the node learns about one server: how fast it is, what it takes, whether it works. Pure."""
