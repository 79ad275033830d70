"""Halves of an extraction agree on a vector that is there, and not on one that is chance."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from persona_research.commands.extraction import agreement
from persona_research.extraction import SPLIT_HALF
from persona_research.residuals import ResidualMeans
from persona_research.split_halves import Poles, split_half_cosines
from triton_models.vectors.persona_vector import PersonaVector

SIZE = 256
BLOCK = 3


def means(states: torch.Tensor) -> ResidualMeans:
    """The means of answers of one token each, [answers, hidden size]."""
    found = ResidualMeans(answers=len(states), tokens=len(states))
    found.add(BLOCK, states, torch.ones(len(states)))
    return found


def half(seed: int, difference: float) -> Poles:
    """Twelve pairs of noise, the positive ones moved along the first axis."""
    noise = torch.Generator().manual_seed(seed)
    positive, negative = (torch.randn(12, SIZE, generator=noise) for _ in range(2))
    positive[:, 0] += difference
    return Poles(means(positive), means(negative))


def test_halves_agree_on_what_is_there_and_not_on_chance() -> None:
    (there,) = (split_half_cosines(half(0, 50.0), half(1, 50.0)) or {}).values()
    (chance,) = (split_half_cosines(half(0, 0.0), half(1, 0.0)) or {}).values()
    assert there > 0.95
    assert abs(chance) < 0.3
    assert split_half_cosines(half(0, 1.0), Poles(ResidualMeans(), ResidualMeans())) is None


def test_both_halves_make_the_whole() -> None:
    states = torch.randn(8, SIZE, generator=torch.Generator().manual_seed(0))
    whole = means(states[:3]) + means(states[3:])
    np.testing.assert_allclose(whole.mean(BLOCK), states.double().mean(0), atol=1e-6)
    assert (whole.answers, whole.tokens) == (8, 8)
    assert whole.mean_norm(BLOCK) == pytest.approx(float(states.norm(dim=-1).mean()))
    assert (whole + ResidualMeans()).answers == (ResidualMeans() + whole).answers == 8


@pytest.mark.parametrize(("cosine", "warned"), [(0.97, False), (0.31, True)])
def test_the_last_line_says_how_many_pairs_agree_how_far(cosine: float, warned: bool) -> None:
    metadata = {
        "selected_layers": [BLOCK],
        "pairs": {"kept": 28, "all": 30},
        SPLIT_HALF: {str(BLOCK): cosine},
    }
    said = agreement(PersonaVector("kind", "m", {BLOCK: np.ones(2, np.float32)}, metadata))
    assert said.startswith(f"kept 28 of 30 pairs, their halves' vectors have the cosine {cosine}")
    assert ("WARNING" in said) == warned
