"""The process of one device that shares a model: `python -m triton_models.engine.shard_worker`.

The leader starts it and sends it orders through its standard input; see `shard_workers`.
"""

from __future__ import annotations

import logging
import os
import sys
from typing import BinaryIO

import torch
from torch import distributed

from triton_models.engine.engine import set_threads
from triton_models.engine.model_loading import choose_device
from triton_models.engine.shard_loading import load_shard
from triton_models.engine.shard_workers import Start, follow, join, read_order
from triton_models.model_folder import find_model


def main() -> int:
    """Serves the leader until it ends, and returns the exit status."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    orders: BinaryIO = os.fdopen(os.dup(sys.stdin.fileno()), "rb")
    start = read_order(orders)
    if not isinstance(start, Start):
        return 0
    settings, place = start.settings, start.place
    set_threads(settings.threads)
    join(place, start.meeting, choose_device(settings.device, settings.device_index + place.index))
    shard = load_shard(find_model(settings), settings, place).shard
    shard.enter_thread()
    with torch.inference_mode():
        follow(shard, orders, settings.max_batch_rows)
    distributed.destroy_process_group()
    return 0


if __name__ == "__main__":
    sys.exit(main())
