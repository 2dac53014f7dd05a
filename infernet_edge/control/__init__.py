"""The socket by which commands ask the running node: its server and its client."""
