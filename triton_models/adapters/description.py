"""The answer of `steered_qwen` to `describe`."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from triton_models.adapters.chunk_tensors import by_block, rounded
from triton_models.contract.errors import InvalidArgumentError
from triton_models.contract.steering_document import vector_operation_json
from triton_models.engine.build import BuiltEngine
from triton_models.engine.statistics import EngineStatistics, HistogramSnapshot
from triton_models.settings import ServerSettings
from triton_models.steering.additions import dtype_name
from triton_models.text.tokenizer import Tokenizer
from triton_models.vectors.calibration_document import (
    CALIBRATION,
    CONDITIONS,
    without_calibration,
)
from triton_models.vectors.persona_vector import PersonaVector
from triton_models.vectors.registry import VectorRegistry
from triton_models.vectors.unit_scale import raw_scalar

_SPECIAL_TOKENS = ("bos_token", "eos_token", "pad_token", "unk_token")


def describe(built: BuiltEngine, settings: ServerSettings) -> str:
    """Returns a JSON object that describes the loaded model, its traits and the engine."""
    model = built.loaded.model
    architecture = model.architecture
    registry = built.registry.current()
    return json.dumps(
        {
            "model": settings.shown_model_name,
            "device": str(model.device),
            "dtype": dtype_name(built.loaded.dtype),
            "compute_dtype": dtype_name(model.dtype),
            "model_info": {
                "num_layers": architecture.num_layers,
                "hidden_size": architecture.hidden_size,
                "vocab_size": architecture.vocabulary_size,
                "context_length": built.loaded.context_length,
                "parameters": built.loaded.num_parameters,
                "weights_sha256": registry.model.weights_sha256 if registry.model else "",
                "residual_norms": by_block(built.residual_norms),
            },
            "tokenizer": _describe_tokenizer(built.loaded.tokenizer),
            "traits": describe_traits(registry, built.residual_norms),
            "problems": [dataclasses.asdict(problem) for problem in registry.problems],
            "engine": {
                "alive": built.engine.alive,
                "max_batch_rows": settings.max_batch_rows,
                "max_waiting": settings.max_waiting,
                "fused_kernels": built.kernels.fused,
                "fused_kernels_reason": built.kernels.reason,
                **_counts(built.engine.statistics),
            },
        }
    )


def _describe_tokenizer(tokenizer: Tokenizer) -> dict[str, Any]:
    """Returns what programs need that make prompts themselves, by transformers' names."""
    templates = tokenizer.chat_templates
    return {
        "tokenizer_class": "TokenizersBackend",  # which reads any tokenizer.json
        "chat_template": templates.get("default") if len(templates) == 1 else None,
        **{name: tokenizer.named_tokens.get(name) for name in _SPECIAL_TOKENS},
    }


def _counts(statistics: EngineStatistics) -> dict[str, Any]:
    """Returns all counters and gauges; histograms are on Triton's metrics endpoint only."""
    values = {
        field.name: getattr(statistics, field.name) for field in dataclasses.fields(statistics)
    }
    return {
        name: value for name, value in values.items() if not isinstance(value, HistogramSnapshot)
    }


def describe_traits(
    registry: VectorRegistry, residual_norms: Mapping[int, float]
) -> dict[str, Any]:
    """Returns the description of each trait, by name.

    `residual_norms` are those of the model's residual stream at each block's output.
    """
    return {
        name: _trait(registry, vector, residual_norms)
        for name, vector in sorted(registry.vectors.items())
    }


def _trait(
    registry: VectorRegistry, vector: PersonaVector, residual_norms: Mapping[int, float]
) -> dict[str, Any]:
    name = vector.trait_name
    # The norms in the file were measured on the texts that the vector was extracted from.
    residuals = {**residual_norms, **vector.residual_norms}
    norms = vector.norms
    return {
        "trait_name": name,
        "model_name": vector.model_name,
        "layers": sorted(vector.blocks),
        "layer_count": len(vector.blocks),
        "selected_layers": list(vector.selected_blocks),
        "recommended_range": vector.recommended_range,
        "operation": vector.operation and vector_operation_json(vector.operation),
        "unit_scale": _unit_scale(registry, vector),
        "norms": by_block(norms),
        "relative_norms": by_block(
            {
                block: norm / residuals[block]
                for block, norm in norms.items()
                if residuals.get(block)
            }
        ),
        "source": vector.source,
        "sha256": vector.sha256,
        "state": "kept" if name in registry.kept else "loaded",
        "warnings": list(registry.warnings[name]),
        "calibration": _calibration(registry, vector),
        "metadata": without_calibration(vector.metadata),
    }


def _unit_scale(registry: VectorRegistry, vector: PersonaVector) -> dict[str, float] | None:
    """Returns how much is as much as asking, by pole, if both are known for the selected blocks."""
    layers = vector.selected_blocks
    try:
        return {
            pole: abs(raw_scalar(vector, layers, sign, registry.model))
            for pole, sign in (("positive", 1.0), ("negative", -1.0))
        }
    except InvalidArgumentError:
        return None


def _calibration(registry: VectorRegistry, vector: PersonaVector) -> dict[str, Any] | None:
    """Returns what is known of a vector's calibration without its quantiles, which are many."""
    if CALIBRATION not in vector.metadata:
        return None
    try:
        found = registry.calibration(vector.trait_name)
    except InvalidArgumentError as error:
        return {"usable": False, "reason": error.message}
    return {
        "usable": True,
        "num_answers": found.num_answers,
        "num_tokens": found.num_tokens,
        "seed": found.seed,
        "answer_means": {
            str(number): {
                condition: rounded(getattr(block, condition).answers.mean)
                for condition in CONDITIONS
            }
            for number, block in sorted(found.blocks.items())
        },
    }
