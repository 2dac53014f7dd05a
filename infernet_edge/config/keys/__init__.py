"""The keys of the configuration: their types, old names, and names that are similar."""
