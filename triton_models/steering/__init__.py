"""Steering: which delta a request adds at which block, and the hooks that add it row by row."""
