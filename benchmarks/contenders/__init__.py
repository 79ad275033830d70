"""Ways to generate text for several streams, each behind the same small interface."""
