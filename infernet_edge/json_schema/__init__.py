"""JSON Schema for the input of containers: drafts 2020-12 and 7, with bounded work.

See `.github/decisions/json-schema.md` for why this is not a library.
"""
