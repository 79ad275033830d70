"""Text to tokens and back: chat rendering, token bytes, and incremental release of answers."""
