"""Loading a device's share of a model, with all others at the same time if there are others."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.distributed

from triton_models.engine.kv_size import available_memory, bytes_per_token, choose_num_slots
from triton_models.engine.model_loading import LoadedModel, choose_device, load_model
from triton_models.engine.model_shard import ModelShard, ShardSizes
from triton_models.engine.shard_workers import LeadingShard, ShardWorkers, join
from triton_models.engine.sharded_linear import WHOLE_MODEL, ShardPlace, check_divisible
from triton_models.model_folder import UnsupportedModelError
from triton_models.settings import ServerSettings


@dataclass(frozen=True, slots=True)
class LoadedShard:
    """A device's share, ready to compute.

    Attributes:
        loaded: The model, cut down to the share.
        shard: Computes with it.
        num_slots: How many tokens the KV cache holds.
    """

    loaded: LoadedModel
    shard: ModelShard
    num_slots: int


def load_shard(
    folder: Path, settings: ServerSettings, place: ShardPlace = WHOLE_MODEL
) -> LoadedShard:
    """Loads a device's share of a model; with others, all have to do it, after `join`.

    Raises:
        UnsupportedModelError: The model cannot be served.
        KVCacheTooSmallError: There is no memory for the keys and values of a single request.
    """
    loaded = _load_in_turn(folder, settings, place)
    device = loaded.model.device
    num_slots = choose_num_slots(
        bytes_per_token(loaded.model.config, loaded.compute_dtype) // place.count,
        settings.kv_cache_tokens,
        settings.max_batch_rows,
        loaded.context_length,
        available_memory(device),
    )
    if place.count > 1:
        least = torch.tensor(num_slots, device=device)
        torch.distributed.all_reduce(least, torch.distributed.ReduceOp.MIN)
        num_slots = int(least)
    sizes = ShardSizes(settings.max_batch_rows, num_slots, loaded.context_length, place.count)
    shard = ModelShard(loaded.model, loaded.compute_dtype, sizes, settings.cuda_graphs)
    return LoadedShard(loaded, shard, num_slots)


def load_leading_shard(folder: Path, settings: ServerSettings) -> tuple[LoadedShard, LeadingShard]:
    """Starts the processes of the other devices, and loads the model together with them.

    Raises:
        UnsupportedModelError: The model cannot be served by so many devices, or there are not so
            many.
        KVCacheTooSmallError: There is no memory for the keys and values of a single request.
    """
    check_divisible(folder, settings.tensor_parallel)
    device = choose_device(settings.device, settings.device_index)
    needed = settings.device_index + settings.tensor_parallel
    if device.type == "cuda" and torch.cuda.device_count() < needed:
        raise UnsupportedModelError(
            f"TENSOR_PARALLEL is {settings.tensor_parallel} from GPU {settings.device_index} on, "
            f"but there are {torch.cuda.device_count()} GPUs"
        )
    with tempfile.TemporaryDirectory() as meeting_folder:
        meeting = Path(meeting_folder) / "meeting"
        workers = ShardWorkers(settings, meeting)
        try:
            place = ShardPlace(count=settings.tensor_parallel)
            join(place, meeting, device)
            whole = load_shard(folder, settings, place)
        except BaseException:
            workers.close()
            raise
    return whole, LeadingShard(whole.shard, workers)


def _load_in_turn(folder: Path, settings: ServerSettings, place: ShardPlace) -> LoadedModel:
    """Loads one share after the other: the host's memory need only hold one whole model."""
    loaded = None
    for turn in range(place.count):
        if turn == place.index:
            loaded = load_model(folder, settings, place)
        if place.count > 1:
            torch.distributed.barrier()
    if loaded is None:
        raise ValueError(f"{place} is not among the places")
    return loaded
