"""In the place of regex: parsimonious compiles the grammar of ABI types with it.

The expressions of that grammar, and of the grammar of grammars, mean the same in both.
"""

from re import A, I, L, M, S, U, X, compile, escape, match

__all__ = ["A", "I", "L", "M", "S", "U", "X", "compile", "escape", "match"]
