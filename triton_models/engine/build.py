"""Putting an engine together from the settings."""

from __future__ import annotations

from dataclasses import dataclass

from triton_models.engine.engine import Engine, set_threads
from triton_models.engine.model_loading import LoadedModel, load_model
from triton_models.engine.model_runner import ModelRunner
from triton_models.model_folder import find_model
from triton_models.settings import ServerSettings
from triton_models.text.token_bytes import TokenBytes
from triton_models.vectors.registry import VectorRegistry, scan_vectors


@dataclass(frozen=True, slots=True)
class BuiltEngine:
    """An engine, not started yet, and what it was made of."""

    engine: Engine
    loaded: LoadedModel
    registry: VectorRegistry


def build_engine(settings: ServerSettings) -> BuiltEngine:
    """Loads the model and its vectors and makes an engine of them.

    Raises:
        ModelNotFoundError: The model is not on this machine.
        UnsupportedModelError: The model cannot be served.
    """
    set_threads(settings.threads)
    loaded = load_model(find_model(settings), settings)
    registry = scan_vectors(
        settings.vectors,
        model_name=settings.shown_model_name,
        hidden_size=loaded.model.config.hidden_size,
        num_layers=loaded.model.config.num_hidden_layers,
    )
    runner = ModelRunner(
        loaded.model, settings.max_batch_rows, loaded.context_length, loaded.end_ids
    )
    engine = Engine(
        runner,
        TokenBytes(loaded.tokenizer),
        registry,
        loaded.end_ids,
        loaded.context_length,
        settings,
    )
    return BuiltEngine(engine, loaded, registry)
