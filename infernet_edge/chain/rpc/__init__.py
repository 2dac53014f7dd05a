"""JSON-RPC: a server, the client over several servers, and the tracker of the head."""
