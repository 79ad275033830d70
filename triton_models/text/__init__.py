"""Text to tokens and back: chat rendering, token bytes, and what of an answer is text yet."""
