"""The processes that share a model with this one: started here, and told what to do.

Orders go through pipes; numbers go from device to device (NCCL, or gloo on the CPU). Every process
does the same steps in the same order, so a process that fails leaves the others waiting: whatever
fails, all of them end, and with them the engine.
"""

from __future__ import annotations

import logging
import os
import pickle
import queue
import shutil
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import torch
import torch.distributed

from triton_models.engine.model_shard import ModelShard, SlotCopy
from triton_models.engine.packed_batch import HostBatch, PackedBatch
from triton_models.engine.sharded_linear import LEADER, ShardPlace
from triton_models.settings import REPOSITORY_ROOT, ServerSettings
from triton_models.steering.delta import SteeringDelta
from triton_models.steering.hooks import ResidualTap

logger = logging.getLogger(__name__)

EXIT_SECONDS = 5.0
"""How long a process may take to end by itself."""

_LENGTH = struct.Struct("<Q")


class ShardsLostError(RuntimeError):
    """Processes that share a model cannot go on together."""


@dataclass(frozen=True, slots=True)
class Start:
    """What a worker learns first.

    Attributes:
        settings: The server's settings.
        place: Which share of the model it holds.
        meeting: The file through which the processes find each other.
    """

    settings: ServerSettings
    place: ShardPlace
    meeting: Path


@dataclass(frozen=True, slots=True)
class Assign:
    """An order to make a row steer."""

    row: int
    delta: SteeringDelta


@dataclass(frozen=True, slots=True)
class Release:
    """An order to make a row steer by nothing."""

    row: int


@dataclass(frozen=True, slots=True)
class Compute:
    """An order to compute a step."""

    copies: tuple[SlotCopy, ...]
    batch: HostBatch


Order = Start | Assign | Release | Compute


def write_order(stream: BinaryIO, order: Order) -> None:
    """Sends an order."""
    content = pickle.dumps(order, protocol=pickle.HIGHEST_PROTOCOL)
    stream.write(_LENGTH.pack(len(content)) + content)
    stream.flush()


def read_order(stream: BinaryIO) -> Order | None:
    """Waits for an order of the process that started this one; `None` when there will be none."""
    header = stream.read(_LENGTH.size)
    if len(header) < _LENGTH.size:
        return None
    (length,) = _LENGTH.unpack(header)
    content = stream.read(length)
    if len(content) < length:
        return None
    order: Order = pickle.loads(content)
    return order


def join(place: ShardPlace, meeting: Path, device: torch.device) -> None:
    """Makes this process one of those that share a model; returns once all are there."""
    torch.distributed.init_process_group(
        backend="nccl" if device.type == "cuda" else "gloo",
        init_method=meeting.as_uri(),
        rank=place.index,
        world_size=place.count,
    )


class ShardWorkers:
    """The processes of the other devices.

    Args:
        settings: The server's settings; `tensor_parallel` says how many devices there are.
        meeting: A file that does not exist yet, through which the processes find each other.
    """

    def __init__(self, settings: ServerSettings, meeting: Path) -> None:
        self._lock = threading.Lock()
        self._loss = ""
        self._on_loss: Callable[[str], None] = lambda reason: None
        self._closing = threading.Event()
        self._processes: list[subprocess.Popen[bytes]] = []
        environment = {**os.environ, "PYTHONPATH": _python_path()}
        for index in range(1, settings.tensor_parallel):
            process = subprocess.Popen(
                [_python(), "-m", "triton_models.engine.shard_worker"],
                stdin=subprocess.PIPE,
                env=environment,
            )
            self._processes.append(process)
            place = ShardPlace(index, settings.tensor_parallel)
            write_order(_stdin(process), Start(settings, place, meeting))
            threading.Thread(
                target=self._watch, args=(process, index), name=f"shard {index}", daemon=True
            ).start()

    @property
    def lost(self) -> bool:
        """Whether a process has ended that should not have."""
        return bool(self._loss)

    def on_loss(self, act: Callable[[str], None]) -> None:
        """Says what to do, on any thread, when a process ends that should not, or did already."""
        with self._lock:
            self._on_loss = act
            if self._loss:
                act(self._loss)

    def tell(self, order: Order) -> None:
        """Sends an order to every process.

        Raises:
            ShardsLostError: One has ended.
        """
        try:
            for process in self._processes:
                write_order(_stdin(process), order)
        except OSError as error:
            raise ShardsLostError("a process that has a part of the model has ended") from error

    def close(self) -> None:
        """Ends the processes."""
        self._closing.set()
        for process in self._processes:
            try:
                _stdin(process).close()
            except OSError:
                logger.debug("the pipe of a process that has ended is closed already")
        for process in self._processes:
            try:
                process.wait(EXIT_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _watch(self, process: subprocess.Popen[bytes], index: int) -> None:
        status = process.wait()
        if self._closing.is_set():
            return
        reason = f"the process that has part {index} of the model ended with status {status}"
        logger.error(reason)
        with self._lock:
            self._loss = reason
            self._on_loss(reason)
        if not self._closing.wait(EXIT_SECONDS):
            # The device waits for the lost one's numbers, and whoever waits for it cannot be told.
            logger.critical("this process cannot go on without it and ends")
            os._exit(1)


class LeadingShard:
    """The leader's own shard, which takes the others along in whatever it does.

    Args:
        shard: The leader's share of the model.
        workers: The processes that have the others.
    """

    def __init__(self, shard: ModelShard, workers: ShardWorkers) -> None:
        self._shard = shard
        self._workers = workers
        self.device = shard.device
        self.dtype = shard.dtype
        self.vocabulary_size = shard.vocabulary_size

    def enter_thread(self) -> None:
        """Prepares the calling thread, which will launch steps."""
        self._shard.enter_thread()

    def assign(self, row: int, delta: SteeringDelta) -> None:
        """Makes a row of the batch steer by `delta` from the next step on, on all devices."""
        self._workers.tell(Assign(row, delta))
        self._shard.assign(row, delta)

    def release(self, row: int) -> None:
        """Makes a row steer by nothing."""
        self._workers.tell(Release(row))
        self._shard.release(row)

    def begin(
        self, copies: SequenceOf[SlotCopy], batch: HostBatch, last_tokens: torch.Tensor
    ) -> PackedBatch:
        """Begins a step on all devices; see `ModelShard.begin`.

        Raises:
            ShardsLostError: A process has ended, or this one cannot go on as the others do.
        """
        self._workers.tell(Compute(tuple(copies), batch))
        try:
            packed = self._shard.begin(copies, batch, last_tokens)
            torch.distributed.broadcast(packed.input_ids, src=LEADER)
        except Exception as error:
            raise ShardsLostError("a step failed to begin on all devices") from error
        return packed

    def compute(self, batch: PackedBatch, tap: ResidualTap | None = None) -> torch.Tensor:
        """Computes the step that `begin` began; see `ModelShard.compute`.

        Raises:
            ShardsLostError: It failed here or elsewhere.
        """
        try:
            return self._shard.compute(batch, tap)
        except Exception as error:
            raise ShardsLostError("a step failed that several devices compute together") from error

    def on_loss(self, act: Callable[[str], None]) -> None:
        """Says what to do when another process has ended; see `ShardWorkers.on_loss`."""
        self._workers.on_loss(act)

    def close(self) -> None:
        """Ends the other processes."""
        self._workers.close()
        if not (self._workers.lost and self.device.type == "cuda"):
            torch.distributed.destroy_process_group()  # NCCL would wait for the lost process


def follow(shard: ModelShard, orders: BinaryIO, num_rows: int) -> None:
    """Does what the leader orders, until there are no more orders.

    When the leader has died in the middle of a step, this process may wait for it for ever: it is
    ended then.
    """
    unknown_tokens = torch.zeros(num_rows, dtype=torch.int64, device=shard.device)
    for order in _received(orders):
        match order:
            case Assign(row, delta):
                shard.assign(row, delta)
            case Release(row):
                shard.release(row)
            case Compute(copies, batch):
                packed = shard.begin(copies, batch, unknown_tokens)
                torch.distributed.broadcast(packed.input_ids, src=LEADER)
                shard.compute(packed)


def _received(orders: BinaryIO) -> Iterator[Order]:
    """Yields the orders while a thread reads them, so that their end is noticed at once."""
    received: queue.SimpleQueue[Order | None] = queue.SimpleQueue()

    def read() -> None:
        while order := read_order(orders):
            received.put(order)
        received.put(None)
        time.sleep(EXIT_SECONDS)
        os._exit(1)

    threading.Thread(target=read, name="orders", daemon=True).start()
    while order := received.get():
        yield order


def _stdin(process: subprocess.Popen[bytes]) -> BinaryIO:
    if process.stdin is None:
        raise ValueError("the process was started without a pipe for its orders")
    return process.stdin  # type: ignore[return-value]


def _python() -> str:
    """Returns the Python to start; inside Triton the running program is Triton's stub."""
    running = Path(sys.executable)
    if running.name.startswith("python"):
        return str(running)
    found = shutil.which("python3")
    if found is None:
        raise ShardsLostError("there is no python3 on PATH to start the other devices' processes")
    return found


def _python_path() -> str:
    inherited = os.environ.get("PYTHONPATH")
    return os.pathsep.join(
        [str(REPOSITORY_ROOT), inherited] if inherited else [str(REPOSITORY_ROOT)]
    )
