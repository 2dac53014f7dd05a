"""Nodes find each other in the local network, by mDNS (RFC 6762) and DNS-SD (RFC 6763)."""
