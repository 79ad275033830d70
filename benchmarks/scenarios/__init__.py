"""The questions that the benchmark answers, each with its contenders and its tables."""
