"""What Podman and the kernel report of a managed container: its end, its log, its ports."""
