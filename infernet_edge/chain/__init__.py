"""The on-chain half of the node; imported only when the chain is on."""

import sys

import eth_account  # noqa: F401 - now: its import changes the process, see below

# One of its dependencies raises the recursion limit to 100,000, at which deep JSON of a client
# overflows the C stack instead of raising RecursionError. This restores Python's default.
sys.setrecursionlimit(1000)
