"""What `steered_qwen` says about itself: the answer to `describe`."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import torch

from triton_models.engine.build import BuiltEngine
from triton_models.engine.statistics import EngineStatistics, HistogramSnapshot
from triton_models.settings import ServerSettings
from triton_models.vectors.registry import VectorRegistry


def describe(built: BuiltEngine, settings: ServerSettings) -> str:
    """Returns a JSON object about the loaded model, its traits and the engine."""
    model = built.loaded.model
    config = model.config
    return json.dumps(
        {
            "model": settings.shown_model_name,
            "device": str(model.device),
            "dtype": _name(model.dtype),
            "compute_dtype": _name(built.loaded.compute_dtype),
            "model_info": {
                "num_layers": config.num_hidden_layers,
                "hidden_size": config.hidden_size,
                "vocab_size": config.vocab_size,
                "context_length": built.loaded.context_length,
                "parameters": built.loaded.num_parameters,
            },
            "traits": _traits(built.registry),
            "problems": [dataclasses.asdict(problem) for problem in built.registry.problems],
            "engine": {
                "alive": built.engine.alive,
                "max_batch_rows": settings.max_batch_rows,
                "max_waiting": settings.max_waiting,
                **_counts(built.engine.statistics),
            },
        }
    )


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _counts(statistics: EngineStatistics) -> dict[str, Any]:
    """Returns all counters and gauges; histograms are for Triton's metrics endpoint."""
    values = {
        field.name: getattr(statistics, field.name) for field in dataclasses.fields(statistics)
    }
    return {
        name: value for name, value in values.items() if not isinstance(value, HistogramSnapshot)
    }


def _traits(registry: VectorRegistry) -> dict[str, Any]:
    return {
        name: {
            "trait_name": name,
            "model_name": vector.model_name,
            "layers": sorted(vector.blocks),
            "layer_count": len(vector.blocks),
            "selected_layers": list(vector.selected_blocks),
            "norms": {str(block): norm for block, norm in vector.norms.items()},
            "source": vector.source,
            "sha256": vector.sha256,
            "warnings": list(registry.warnings[name]),
            "metadata": vector.metadata,
        }
        for name, vector in sorted(registry.vectors.items())
    }
