"""Measurements that say how far the simulator is from published statistics and exact solutions."""
