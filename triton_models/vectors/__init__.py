"""Persona vectors: their files, their extraction, and the registry that a server steers with."""
