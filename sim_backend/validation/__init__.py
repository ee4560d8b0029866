"""Measurements that say how far the simulator is from published statistics and exact solutions."""

from sim_backend.validation.run import FAMILIES, validate

__all__ = ["FAMILIES", "validate"]
