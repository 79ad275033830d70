"""Putting an engine together from the settings."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from triton_models.engine.engine import Engine, set_threads
from triton_models.engine.kv_room import KVRoom
from triton_models.engine.kv_size import available_memory, bytes_per_token, choose_num_slots
from triton_models.engine.model_loading import LoadedModel, load_model
from triton_models.engine.model_runner import ModelRunner, RunnerSizes
from triton_models.model_folder import find_model
from triton_models.settings import CPU_PREFILL_CHUNK, GPU_PREFILL_CHUNK, ServerSettings
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
        KVCacheTooSmallError: There is no memory for the keys and values of a single request.
    """
    set_threads(settings.threads)
    loaded = load_model(find_model(settings), settings)
    registry = scan_vectors(
        settings.vectors,
        model_name=settings.shown_model_name,
        hidden_size=loaded.model.config.hidden_size,
        num_layers=loaded.model.config.num_hidden_layers,
    )
    device = loaded.model.device
    num_slots = choose_num_slots(
        bytes_per_token(loaded.model.config, loaded.compute_dtype),
        settings.kv_cache_tokens,
        settings.max_batch_rows,
        loaded.context_length,
        available_memory(device),
    )
    if not settings.prefill_chunk:
        chunk = GPU_PREFILL_CHUNK if device.type == "cuda" else CPU_PREFILL_CHUNK
        settings = dataclasses.replace(settings, prefill_chunk=chunk)
    sizes = RunnerSizes(settings.max_batch_rows, num_slots, loaded.context_length)
    runner = ModelRunner(
        loaded.model, loaded.compute_dtype, sizes, loaded.end_ids, settings.cuda_graphs
    )
    engine = Engine(
        runner,
        KVRoom(num_slots, settings.prefix_reuse),
        TokenBytes(loaded.tokenizer),
        lambda: registry,
        loaded.end_ids,
        loaded.context_length,
        settings,
    )
    return BuiltEngine(engine, loaded, registry)
