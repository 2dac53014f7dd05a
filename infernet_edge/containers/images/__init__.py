"""The images of containers: when they are pulled, and whether they can run here."""
