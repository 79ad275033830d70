"""Making persona vectors and judging them: trait definitions, answers, judges, extraction."""
