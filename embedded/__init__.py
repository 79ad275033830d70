"""The embedded model: SmolLM2 from a Python package, with an adapter that knows the traits."""
