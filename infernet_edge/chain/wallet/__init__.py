"""The key of the node's account, and the contract in which the node is paid."""
