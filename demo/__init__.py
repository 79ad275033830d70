"""The demo model: its corpus, tokenizer, training and evaluation."""
