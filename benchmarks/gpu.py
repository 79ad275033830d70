"""`python -m benchmarks.gpu`: the engine on a GPU, in a few minutes of a card's time.

Random weights of the Qwen2.5 shapes, made on the card: a step's time does not depend on what they
say. First the tokens: how often half precision, with kernels, CUDA graphs and overlapping steps,
chooses what float32 would at the same place. Then the rates, each stream steered in its own way: of
greedy requests, beside what the bytes to read allow, and of others beside the greedy ones.
"""

from __future__ import annotations

import argparse
import dataclasses
import gc
import math
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from unittest.mock import patch

import torch

from benchmarks.contenders.engine import (
    GREEDY,
    EngineAlone,
    make_request,
    serve,
    steering_parameters,
)
from benchmarks.contenders.steering import adding
from benchmarks.host import engine_over
from benchmarks.shapes import random_vectors
from benchmarks.workload import Prompts, Workload, own_steering, random_prompts
from triton_models.contract.request import SamplingParameters
from triton_models.engine.engine import Engine
from triton_models.engine.launched_step import ToHost
from triton_models.engine.model_sizes import MODELS, kv_bytes, num_parameters
from triton_models.model.architecture import Architecture
from triton_models.model.attention import WholeSequences
from triton_models.model.linear import NumberFormat
from triton_models.model.transformer import ForwardContext, Transformer
from triton_models.settings import ServerSettings
from triton_models.vectors.registry import VectorRegistry

MAX_ROWS = 256
CONTEXT_LENGTH = 1100
NUM_SLOTS = 80_000
NEW_TOKENS = 128
CHECKED = [Workload(16, 64, 32), Workload(24, 300, 32)]
CHECKED_MODEL = "Qwen2.5-0.5B"

DECODES = [
    *(Workload(streams, 128, NEW_TOKENS) for streams in (1, 16, 64, 256)),
    *(Workload(streams, 900, NEW_TOKENS) for streams in (1, 64)),
]
PROMPTS = [Workload(1, 900, 16), Workload(64, 900, 16), Workload(256, 128, 16)]

SAMPLED = SamplingParameters(0.8, 50, 0.9)
PENALIZED = SamplingParameters(
    temperature=0.0, repetition_penalty=1.2, frequency_penalty=0.2, presence_penalty=0.2
)
FROM_ALL = SamplingParameters(0.8, 0, 0.9)


def one_in_four(special: SamplingParameters) -> Callable[[int], SamplingParameters]:
    """Returns what samples every fourth stream so, and the others greedily."""
    return lambda stream: GREEDY if stream % 4 else special


_COPIED_BYTES = 2**30


def make_model(architecture: Architecture, dtype: torch.dtype, device: torch.device) -> Transformer:
    """Returns a model with random weights, the same ones for every dtype up to rounding."""
    model = Transformer(architecture, NumberFormat(dtype, dtype), CONTEXT_LENGTH, device)
    generator = torch.Generator(device).manual_seed(0)
    head = torch.empty_like(model.embedding, dtype=dtype)
    model.head.weight = torch.nn.Parameter(head, requires_grad=False)
    for name, parameter in model.named_parameters():
        if "norm" in name:
            parameter.data.fill_(1.0)
        else:
            width = parameter.shape[-1]
            drawn = torch.randn(parameter.shape, generator=generator, device=device)
            parameter.data.copy_((drawn / width**0.5).to(torch.bfloat16))
    if architecture.tied_embeddings:
        model.head.weight = model.embedding
    return model


def make_registry(architecture: Architecture) -> VectorRegistry:
    """Returns vectors in random directions for two blocks."""
    blocks = (architecture.num_layers // 3, architecture.num_layers // 2)
    made = random_vectors(architecture.hidden_size, blocks, "random")
    vectors = {vector.trait_name: vector for vector in made}
    return VectorRegistry(vectors, dict.fromkeys(vectors, ()), ())


def running_engine(model: Transformer, num_rows: int) -> Engine:
    """Returns a running engine over a model."""
    settings = ServerSettings(max_batch_rows=num_rows, max_waiting=num_rows)
    registry = make_registry(model.architecture)
    engine = engine_over(model, NUM_SLOTS, CONTEXT_LENGTH, settings, registry)
    engine.start()
    gc.collect()
    gc.freeze()  # as the server does
    return engine


def check_tokens(dtype: torch.dtype, device: torch.device) -> str:
    """Returns how often the tokens of half precision are what float32 would choose there.

    Where they are not, `worst` is how much less likely they are to float32, in its logits.
    """
    architecture = MODELS[CHECKED_MODEL]
    prompts = [prompt for workload in CHECKED for prompt in random_prompts(workload, 0)]
    answers = _answers(running_engine(make_model(architecture, dtype, device), 32), prompts)
    reference = make_model(architecture, torch.float32, device)
    registry = make_registry(architecture)
    agreeing, worst = 0, 0.0
    for stream, (prompt, answer) in enumerate(zip(prompts, answers, strict=True)):
        steering = own_steering(stream)
        deltas = {
            block: torch.from_numpy(values).to(device) * steering.scalar
            for block, values in registry.get(steering.trait).blocks.items()
        }
        short = _shortfalls(reference, prompt, answer, deltas)
        agreeing += int((short == 0).sum())
        worst = max(worst, float(short.max()))
    total = sum(map(len, answers))
    return f"{dtype}: {agreeing} of {total} tokens are float32's, worst {worst:.3f} of a logit"


@torch.inference_mode()
def _shortfalls(
    model: Transformer, prompt: list[int], answer: list[int], deltas: Mapping[int, torch.Tensor]
) -> torch.Tensor:
    """Returns how far an answer's logits are from the largest, float32 [tokens]."""
    ids = torch.tensor([*prompt, *answer[:-1]], device=model.device)
    positions = torch.arange(len(ids), device=model.device)
    attend = WholeSequences([len(ids)], model.architecture)
    with adding(model.blocks, deltas):
        states = model(ids, positions, ForwardContext(attend, torch.zeros_like(ids)))
    logits = model.logits(states[len(prompt) - 1 :])
    chosen = logits.gather(1, torch.tensor(answer, device=model.device)[:, None])
    return logits.amax(dim=1) - chosen[:, 0]


def _answers(engine: Engine, prompts: Prompts) -> list[list[int]]:
    answers: list[list[int]] = [[] for _ in prompts]
    requests = [
        make_request(CHECKED[0], steering_parameters("mixed", stream))
        for stream in range(len(prompts))
    ]
    serve(engine, requests, prompts, lambda stream, chunk: answers[stream].extend(chunk.token_ids))
    engine.stop(0)
    return answers


def measure_rates(name: str, dtype: torch.dtype, device: torch.device, rounds: int) -> None:
    """Prints the decode rates and the times to the first token of one model."""
    started = time.perf_counter()
    architecture = MODELS[name]
    engine = running_engine(make_model(architecture, dtype, device), MAX_ROWS)
    allocated = torch.cuda.memory_allocated() / 2**30
    kernels = engine._runner.kernels
    print(
        f"{name}: ready after {time.perf_counter() - started:.1f} s, {allocated:.1f} GiB, "
        f"{'fused kernels' if kernels.fused else f'no fused kernels: {kernels.reason}'}"
    )
    bandwidth = copy_bandwidth(device)
    print(f"  memory: {bandwidth / 1e12:.2f} TB/s")
    greedy = EngineAlone(engine, "mixed", "greedy")
    others = [
        EngineAlone(engine, "not", "unsteered"),
        EngineAlone(engine, "uniformly", "steered alike"),
        EngineAlone(engine, "mixed", "sampled", lambda _: SAMPLED),
        EngineAlone(engine, "mixed", "a quarter penalized", one_in_four(PENALIZED)),
        EngineAlone(engine, "mixed", "a quarter drawn from all", one_in_four(FROM_ALL)),
    ]
    for workload in (*DECODES, *PROMPTS):  # what a first time takes longer for
        short = dataclasses.replace(workload, new_tokens=4)
        for contender in (greedy, *others):
            contender.run(short, random_prompts(short, 0))
    for workload in DECODES:
        rates: dict[str, list[float]] = {}
        shares = []
        for round_ in range(1, rounds + 1):
            for index, contender in enumerate((greedy, *others)):
                with HostShare() as host_share:
                    prompts = random_prompts(workload, round_, index)
                    rate = contender.run(workload, prompts).decode_tokens_per_second
                rates.setdefault(contender.name, []).append(rate or math.nan)
                if contender is greedy:
                    shares.append(host_share.value)
        medians = {name: statistics.median(each) for name, each in rates.items()}
        own = medians.pop(greedy.name)
        bound = workload.streams * bandwidth / bytes_per_step(architecture, dtype, workload)
        print(
            f"  {workload.streams:>3} streams behind {workload.prompt_tokens}: {own:,.0f} tokens/s"
            f" = {own / bound:.2f} of the bytes' bound, host {statistics.median(shares):.2f}; "
            + ", ".join(f"{name} {rate / own:.2f}" for name, rate in medians.items()),
            flush=True,
        )
    for workload in PROMPTS:
        measured = [
            greedy.run(workload, random_prompts(workload, round_))
            for round_ in range(1, rounds + 1)
        ]
        median = statistics.median(each.first_token_seconds for each in measured)
        last = statistics.median(each.last_begun_seconds or math.nan for each in measured)
        print(
            f"  {workload.streams:>3} prompts of {workload.prompt_tokens}: the median first token "
            f"after {1000 * median:.0f} ms, the last one after {1000 * last:.0f}",
            flush=True,
        )
    engine.stop(0)


def copy_bandwidth(device: torch.device) -> float:
    """Returns how many bytes a second the card reads and writes when it copies."""
    source = torch.empty(_COPIED_BYTES, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    seconds: list[float] = []
    for _ in range(6):
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        target.copy_(source)
        end.record()
        end.synchronize()
        seconds.append(begin.elapsed_time(end) / 1000)
    return 2 * _COPIED_BYTES / min(seconds)


def bytes_per_step(architecture: Architecture, dtype: torch.dtype, workload: Workload) -> int:
    """Returns what a step reads at least: the weights once, and every stream's keys and values."""
    weights = num_parameters(architecture)
    if not architecture.tied_embeddings:  # of the embedding, a row a stream
        weights -= architecture.vocabulary_size * architecture.hidden_size
    reach = workload.prompt_tokens + workload.new_tokens // 2
    return weights * dtype.itemsize + kv_bytes(architecture, workload.streams * reach, dtype)


class HostShare:
    """Measures which share of a time the engine's thread does not wait for the device."""

    def __enter__(self) -> HostShare:
        self._waited = 0.0
        wait = ToHost.wait

        def timed(to_host: ToHost) -> None:
            began = time.perf_counter()
            wait(to_host)
            self._waited += time.perf_counter() - began

        self._patch = patch.object(ToHost, "wait", timed)
        self._patch.start()
        self._began = time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self._patch.stop()
        self.value = 1.0 - self._waited / (time.perf_counter() - self._began)


def main() -> int:
    """Checks and measures what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=["Qwen2.5-3B"])
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        print("benchmarks.gpu needs a GPU, and none is visible", file=sys.stderr)
        return 1
    device = torch.device("cuda", 0)
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}")
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        print(check_tokens(dtype, device), flush=True)
    for name in arguments.models:
        measure_rates(name, torch.bfloat16, device, arguments.rounds)
        torch.cuda.empty_cache()
    return 0


if __name__ == "__main__":
    sys.exit(main())
