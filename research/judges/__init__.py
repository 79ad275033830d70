"""Judges: how strongly an answer shows a trait."""

from persona_research.judges.judge import CONTRAST, POINTS, Judge, JudgeError, Scale
from persona_research.judges.rule import RuleJudge

__all__ = ["CONTRAST", "POINTS", "Judge", "JudgeError", "RuleJudge", "Scale"]
