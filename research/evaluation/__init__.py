"""How strong a vector is, where it works best, and what else it moves."""
