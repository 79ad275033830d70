"""Persona vectors: the value, its file formats, and the registry that a server steers with."""
