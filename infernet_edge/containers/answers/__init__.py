"""What containers answer: numbers that JSON does not have, error pages, and failures."""
