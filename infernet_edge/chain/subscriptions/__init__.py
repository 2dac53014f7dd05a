"""Subscriptions that contracts create: found, stored, and scheduled by their intervals."""
