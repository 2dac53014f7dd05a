"""Events of the node: what happens to jobs, containers, the storage and the chain."""
