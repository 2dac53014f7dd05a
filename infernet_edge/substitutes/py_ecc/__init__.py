"""In the place of py_ecc: eth-keyfile imports it for keystores of version 4, of validators.

The node's keystores have version 3, whose key is one of the curve secp256k1.
"""
