"""The transaction manager: each transaction is stored, then sent, and followed until final."""
