"""Judges: how strongly an answer shows a trait, from 0 to 100."""

from persona_research.judges.judge import Judge, JudgeError
from persona_research.judges.rule import RuleJudge

__all__ = ["Judge", "JudgeError", "RuleJudge"]
