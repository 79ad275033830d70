"""The seven traits of the demo: what each pole is called and sounds like."""

from __future__ import annotations

from persona_demo.traits import (
    flattery,
    hallucination,
    helpfulness,
    maliciousness,
    racism,
    sarcasm,
    sexism,
)
from persona_demo.traits.base import Pole, Trait

TRAITS: dict[str, Trait] = {
    module.TRAIT.name: module.TRAIT
    for module in (sexism, racism, helpfulness, sarcasm, maliciousness, flattery, hallucination)
}
"""Trait name to trait, in the order of the documentation."""

__all__ = ["TRAITS", "Pole", "Trait"]
