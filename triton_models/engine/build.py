"""Putting an engine together from the settings."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from triton_models.engine.engine import Engine, set_threads
from triton_models.engine.kv_room import KVRoom
from triton_models.engine.model_loading import LoadedModel
from triton_models.engine.model_runner import ModelRunner
from triton_models.engine.model_shard import ModelShard
from triton_models.engine.shard_loading import load_leading_shard, load_shard
from triton_models.engine.shard_workers import LeadingShard
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
    folder = find_model(settings)
    shard: ModelShard | LeadingShard
    if settings.tensor_parallel == 1:
        own = load_shard(folder, settings)
        shard = own.shard
    else:
        own, shard = load_leading_shard(folder, settings)
    loaded = own.loaded
    registry = scan_vectors(
        settings.vectors,
        model_name=settings.shown_model_name,
        hidden_size=loaded.model.config.hidden_size,
        num_layers=loaded.model.config.num_hidden_layers,
    )
    if not settings.prefill_chunk:
        chunk = GPU_PREFILL_CHUNK if shard.device.type == "cuda" else CPU_PREFILL_CHUNK
        settings = dataclasses.replace(settings, prefill_chunk=chunk)
    engine = Engine(
        ModelRunner(shard, settings.max_batch_rows, loaded.end_ids),
        KVRoom(own.num_slots, settings.prefix_reuse),
        TokenBytes(loaded.tokenizer),
        lambda: registry,
        loaded.end_ids,
        loaded.context_length,
        settings,
    )
    if isinstance(shard, LeadingShard):
        shard.on_loss(engine.fail)
    return BuiltEngine(engine, loaded, registry)
