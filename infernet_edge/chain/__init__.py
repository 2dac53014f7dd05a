"""The on-chain half of the node; imported only when the chain is on."""

import sys

import eth_account  # noqa: F401 - now, so that it does its harm before the next line

# One of its dependencies raises the limit to 100,000, at which deep JSON of a client overflows the
# C stack instead of raising RecursionError. Back to what Python starts with.
sys.setrecursionlimit(1000)
