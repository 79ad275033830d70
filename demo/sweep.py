"""Chooses the blocks to steer and the vectors' scale, on prompts that no evaluation uses."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from demo.evaluation import SCALARS, Measurement, measure
from demo.questions import Prompt
from triton_models.vectors.persona_vector import PersonaVector


@dataclass(frozen=True)
class Setting:
    """Blocks to steer and a factor on the vector as it was extracted."""

    layers: tuple[int, ...]
    scale: float


def with_setting(vector: PersonaVector, setting: Setting) -> PersonaVector:
    """The vector rescaled to `setting.scale` from whatever scale it has."""
    factor = setting.scale / float(vector.metadata.get("scale", 1.0))
    blocks = {
        block: (factor * values).astype(np.float32) for block, values in vector.blocks.items()
    }
    metadata = {
        **vector.metadata,
        "scale": setting.scale,
        "selected_layers": list(setting.layers),
    }
    return PersonaVector(vector.trait_name, vector.model_name, blocks, metadata)


def sweep(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    vector: PersonaVector,
    prompts: Sequence[Prompt],
    settings: Sequence[Setting],
) -> Iterator[tuple[Setting, list[Measurement]]]:
    """The measurements at every scalar, for each setting in turn."""
    for setting in settings:
        changed = with_setting(vector, setting)
        yield (
            setting,
            [
                measure(model, tokenizer, changed, prompts, scalar, with_perplexity=False)[0]
                for scalar in SCALARS
            ],
        )
