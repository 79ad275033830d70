"""What steering costs in capability: tasks of questions with several choices, over scalars."""
