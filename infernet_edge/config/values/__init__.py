"""Values of the configuration with a form or a meaning of their own."""
