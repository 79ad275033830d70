"""Whole commands, from options to files: what `persona vectors` and the scripts run."""
