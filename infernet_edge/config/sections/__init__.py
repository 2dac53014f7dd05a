"""Sections of the configuration that have a module of their own; model.py has the others."""
