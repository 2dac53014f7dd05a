"""The node and its services as files of other systems: Kubernetes manifests, Podman's quadlets."""
