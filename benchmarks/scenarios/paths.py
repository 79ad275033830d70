"""What is lost on the way to the engine: through Triton, the ensemble and the gateway.

The servers run on this machine, and so do the clients. The engine alone runs in this process while
the server is idle, and the server's while the one here is: an idle engine waits and computes
nothing, so the two take turns with all of the machine.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from benchmarks import bars
from benchmarks.bars import Bar
from benchmarks.contenders.contender import Contender
from benchmarks.contenders.engine import MAX_BATCH_ROWS, EngineAlone, running_engine
from benchmarks.contenders.triton_streams import STREAM_SECONDS, GatewayStreams, TritonStreams
from benchmarks.results import Result, compare, delay
from benchmarks.roofline import MachineRates
from benchmarks.scenarios.options import ScenarioOptions, measured
from benchmarks.shapes import MAX_CONTEXT, BenchmarkModel
from launcher.loopback import loopback_settings
from launcher.stack import Stack
from triton_models.contract import tensors

ENGINE, TRITON, ENSEMBLE, GATEWAY = "engine alone", "Triton", "ensemble", "gateway"

_START_SECONDS = 300.0
_IDLE_SECONDS = 1.0


def run(model: BenchmarkModel, rates: MachineRates, options: ScenarioOptions) -> Result:
    """Measures every workload."""
    result = Result("paths", model, rates)
    with (
        tempfile.TemporaryDirectory(prefix="persona-benchmark-") as folder,
        Stack(
            loopback_settings(Path(folder), _START_SECONDS),
            _environment(model, options),
            say=options.say,
        ) as stack,
        running_engine(model, options.threads) as engine,
    ):
        address = stack.settings.grpc_address
        contenders: list[Contender] = [
            EngineAlone(engine, "mixed", ENGINE),
            TritonStreams(address, tensors.STEERED_QWEN, TRITON),
            TritonStreams(address, tensors.PERSONA, ENSEMBLE),
            GatewayStreams(stack.settings.gateway_port, GATEWAY),
        ]
        result.notes.append(
            f"the idle engine in this process took {_idle_share():.1%} of one core."
        )
        for workload, samples in measured(contenders, options, result):
            result.ratios += [
                compare(samples, workload, name, ENGINE, _bar(model, name, workload.streams))
                for name in (TRITON, ENSEMBLE, GATEWAY)
            ]
            result.ratios.append(compare(samples, workload, GATEWAY, ENSEMBLE, Bar(bars.GATEWAY)))
            result.delays.append(
                delay(samples, workload, GATEWAY, ENSEMBLE, bars.GATEWAY_DELAY_SECONDS)
            )
    return result


def _bar(model: BenchmarkModel, name: str, streams: int) -> Bar | None:
    applies = (
        bars.bars_apply(model.shape.name, model.dtype, "cpu")
        and name in (TRITON, ENSEMBLE)
        and streams == bars.SERVED_STREAMS
    )
    return Bar(bars.SERVED) if applies else None


def _environment(model: BenchmarkModel, options: ScenarioOptions) -> dict[str, str]:
    """Returns the server's configuration: that of the engine in this process."""
    return {
        "MODEL_NAME": str(model.folder),
        "VECTORS_DIR": str(model.vectors),
        "DEVICE": "cpu",
        "DTYPE": model.dtype,
        "MAX_BATCH_ROWS": str(MAX_BATCH_ROWS),
        "MAX_CONTEXT": str(MAX_CONTEXT),
        "TORCH_THREADS": str(options.threads),
        "FIRST_CHUNK_TIMEOUT": str(STREAM_SECONDS),
        "CHUNK_TIMEOUT": str(STREAM_SECONDS),
        "REQUEST_TIMEOUT": str(STREAM_SECONDS),
    }


def _idle_share() -> float:
    """Returns how much of a core this process takes while nothing is asked of it."""
    before = time.process_time()
    time.sleep(_IDLE_SECONDS)
    return (time.process_time() - before) / _IDLE_SECONDS
