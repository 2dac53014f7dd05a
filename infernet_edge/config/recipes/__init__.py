"""Recipes of the reference node's registry: configurations with inputs that users fill in."""
