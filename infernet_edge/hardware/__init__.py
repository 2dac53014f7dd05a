from infernet_edge.hardware.machine import Hardware

__all__ = ["Hardware"]
