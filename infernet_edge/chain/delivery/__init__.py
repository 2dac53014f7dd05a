"""The delivery of results, from an accepted request or a due interval to its transaction."""
