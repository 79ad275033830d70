"""Builds an engine from the settings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from triton_models.engine.answer_formats import AnswerFormats
from triton_models.engine.choose_forward import Kernels
from triton_models.engine.engine import Engine
from triton_models.engine.kv_room import KVRoom
from triton_models.engine.kv_size import (
    available_memory,
    bytes_per_token,
    choose_num_slots,
    growth_of,
)
from triton_models.engine.model_runner import ModelRunner, RunnerSizes
from triton_models.engine.prompt_pace import GPU_TOKENS
from triton_models.engine.residual_norms import measure_residual_norms
from triton_models.engine.threads import in_short_lived_thread
from triton_models.grammars.vocabulary import make_vocabulary
from triton_models.model.folder import find_model
from triton_models.model.loading import LoadedModel, load_model
from triton_models.model.weights_hash import weights_sha256
from triton_models.settings import ServerSettings
from triton_models.text.token_bytes import TokenBytes
from triton_models.vectors.live_registry import LiveRegistry
from triton_models.vectors.registry import ModelFit, VectorRegistry
from triton_models.vectors.vector_folder import VectorFolder


@dataclass(frozen=True, slots=True)
class BuiltEngine:
    """An engine that is not started yet, and its parts.

    Attributes:
        registry: Its vectors, which follow their files once `start` is called.
        residual_norms: The mean norm of the residual stream at each block's output.
        kernels: Whether its steps use the fused kernels.
    """

    engine: Engine
    loaded: LoadedModel
    registry: LiveRegistry
    residual_norms: dict[int, float]
    kernels: Kernels


@dataclass(frozen=True, slots=True)
class RunnableModel:
    """A loaded model, the runner of its steps, and the room of the runner's KV cache."""

    loaded: LoadedModel
    runner: ModelRunner
    room: KVRoom


def build_engine(settings: ServerSettings) -> BuiltEngine:
    """Loads the model and its vectors and builds an engine with them.

    Raises:
        ModelMissingError: The model is not on this machine.
        UnsupportedModelError: The model cannot be served.
        KVCacheTooSmallError: The memory does not hold the KV cache of a single request.
    """
    folder = find_model(settings)
    runnable, residual_norms = in_short_lived_thread(lambda: _load_and_measure(folder, settings))
    loaded = runnable.loaded
    architecture = loaded.model.architecture
    fit = ModelFit(
        settings.shown_model_name,
        architecture.hidden_size,
        architecture.num_layers,
        weights_sha256(folder),
        residual_norms,
    )
    registry = LiveRegistry(VectorFolder(settings.vectors, fit))
    engine = assemble_engine(runnable, registry.current, settings)
    return BuiltEngine(engine, loaded, registry, residual_norms, runnable.runner.kernels)


def load_runnable(folder: Path, settings: ServerSettings) -> RunnableModel:
    """Loads a model and makes its runner, with the number of CPU threads that the settings say.

    Raises:
        UnsupportedModelError: The model cannot be served.
        KVCacheTooSmallError: The memory does not hold the KV cache of a single request.
    """
    return in_short_lived_thread(lambda: _load(folder, settings))


def _load_and_measure(
    folder: Path, settings: ServerSettings
) -> tuple[RunnableModel, dict[int, float]]:
    runnable = _load(folder, settings)
    return runnable, measure_residual_norms(runnable.runner, runnable.loaded)


def _load(folder: Path, settings: ServerSettings) -> RunnableModel:
    if settings.threads:
        torch.set_num_threads(settings.threads)
    loaded = load_model(folder, settings)
    model = loaded.model
    token_bytes = bytes_per_token(model.architecture, model.dtype)
    num_slots = choose_num_slots(
        token_bytes,
        settings.kv_cache_tokens,
        settings.max_batch_rows,
        loaded.context_length,
        available_memory(model.device),
    )
    sizes = RunnerSizes(
        settings.max_batch_rows,
        num_slots,
        loaded.context_length,
        settings.prefill_chunk or GPU_TOKENS,
    )
    runner = ModelRunner(
        model,
        sizes,
        loaded.end_ids,
        cuda_graphs=settings.cuda_graphs,
        fused_kernels=settings.fused_kernels,
    )
    growth = growth_of(token_bytes, loaded.context_length, model.device)
    return RunnableModel(loaded, runner, KVRoom(num_slots, settings.prefix_reuse, growth))


def assemble_engine(
    runnable: RunnableModel, registry: Callable[[], VectorRegistry], settings: ServerSettings
) -> Engine:
    """Builds an engine from a loaded model; it is not started yet."""
    loaded = runnable.loaded
    return Engine(
        runnable.runner,
        runnable.room,
        TokenBytes(loaded.tokenizer),
        registry,
        loaded.end_ids,
        loaded.context_length,
        settings,
        AnswerFormats(
            make_vocabulary(loaded.tokenizer, runnable.runner.vocabulary_size, loaded.end_ids),
            loaded.end_ids,
            beside_forward=runnable.runner.device.type == "cuda",
        ),
    )
