"""Steering: the delta that a request adds at each block, and the hooks that add it per row."""
