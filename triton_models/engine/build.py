"""Putting an engine together from the settings."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

from triton_models.engine.engine import Engine, set_threads
from triton_models.engine.kv_room import KVRoom
from triton_models.engine.model_loading import LoadedModel
from triton_models.engine.model_runner import ModelRunner
from triton_models.engine.model_shard import ModelShard
from triton_models.engine.residual_norms import measure_residual_norms
from triton_models.engine.shard_loading import LoadedShard, load_leading_shard, load_shard
from triton_models.engine.shard_workers import LeadingShard
from triton_models.model_folder import find_model
from triton_models.settings import CPU_PREFILL_CHUNK, GPU_PREFILL_CHUNK, ServerSettings
from triton_models.text.token_bytes import TokenBytes
from triton_models.vectors.live_registry import LiveRegistry
from triton_models.vectors.registry import ModelFit, VectorRegistry
from triton_models.vectors.vector_folder import VectorFolder


@dataclass(frozen=True, slots=True)
class BuiltEngine:
    """An engine, not started yet, and what it was made of.

    Attributes:
        engine: The engine.
        loaded: Its model.
        registry: Its vectors, which follow their files once they are started to.
        residual_norms: How long the residual stream's vectors are at each block's output.
    """

    engine: Engine
    loaded: LoadedModel
    registry: LiveRegistry
    residual_norms: dict[int, float]


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
    config = loaded.model.config
    fit = ModelFit(settings.shown_model_name, config.hidden_size, config.num_hidden_layers)
    registry = LiveRegistry(VectorFolder(settings.vectors, fit))
    runner = ModelRunner(shard, settings.max_batch_rows, loaded.end_ids)
    residual_norms = measure_residual_norms(
        runner, loaded.model, loaded.tokenizer, loaded.context_length
    )
    engine = assemble_engine(own, runner, registry.current, settings)
    if isinstance(shard, LeadingShard):
        shard.on_loss(engine.fail)
    return BuiltEngine(engine, loaded, registry, residual_norms)


def assemble_engine(
    own: LoadedShard,
    runner: ModelRunner,
    registry: Callable[[], VectorRegistry],
    settings: ServerSettings,
) -> Engine:
    """Makes an engine, not started yet, of a loaded model.

    Args:
        own: This process's share of the model.
        runner: Runs steps with it.
        registry: Gives the vectors that requests can name at the moment.
        settings: Sizes and defaults.
    """
    if not settings.prefill_chunk:
        chunk = GPU_PREFILL_CHUNK if runner.device.type == "cuda" else CPU_PREFILL_CHUNK
        settings = dataclasses.replace(settings, prefill_chunk=chunk)
    loaded = own.loaded
    return Engine(
        runner,
        KVRoom(own.num_slots, settings.prefix_reuse),
        TokenBytes(loaded.tokenizer),
        registry,
        loaded.end_ids,
        loaded.context_length,
        settings,
    )
