"""How containers are called: Infernet's own interface, and adapters for servers of other kinds.

Each protocol is one module with the same functions, see `call.ServiceProtocol`; `table.py` has all.
"""
