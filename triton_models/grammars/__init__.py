"""Compiles the form that an answer must have to masks over the model's vocabulary."""
