"""The Triton servers: one, all of them, the stream to each, and their health."""
