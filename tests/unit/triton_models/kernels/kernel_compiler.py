"""Compiles the GPU kernels for real cards on a machine without one: `python -m` this module.

The kernels' Python functions are called as the engine calls them, with tensors that have a shape
only. Each launch is compiled for the cards, and a line of JSON says what came of it.
"""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from typing import Any

import torch
from triton import knobs
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource, compile
from triton.runtime.jit import JITFunction

from tests.unit.triton_models.kernels.steering_inputs import block_steering
from triton_models.kernels import elementwise, few_rows
from triton_models.kernels.attention import HeadParameters, attend, rotate_and_store
from triton_models.kernels.block_sizes import DOWN, HEAD, MAX_FEW_ROWS, OUTPUT, QUERY_KEY_VALUE
from triton_models.kernels.draw_from_all import draw_from_all
from triton_models.kernels.penalties import penalize
from triton_models.kernels.steering import window_factors

CAPABILITIES = (80, 90, 100)

_TYPES = {
    torch.bfloat16: "*bf16",
    torch.float16: "*fp16",
    torch.float32: "*fp32",
    torch.float64: "*fp64",
    torch.int64: "*i64",
    torch.int32: "*i32",
    torch.int8: "*i8",
    torch.bool: "*i1",
}

Launch = tuple[Any, dict[str, Any], dict[str, Any]]
"""A kernel, its arguments by name, and its options."""


@contextmanager
def recorded_launches() -> Iterator[list[Launch]]:
    """Notes the kernels that are launched inside instead of launching them."""
    launches: list[Launch] = []
    run = JITFunction.run

    def record(self: Any, *args: Any, grid: Any, warmup: bool, **kwargs: Any) -> None:
        named = dict(zip(self.arg_names, args, strict=False))
        named |= {name: value for name, value in kwargs.items() if name in self.arg_names}
        options = {name: value for name, value in kwargs.items() if name not in self.arg_names}
        launches.append((self, named, options))

    JITFunction.run = record
    try:
        yield launches
    finally:
        JITFunction.run = run


def source_of(launch: Launch) -> ASTSource:
    """Returns what is compiled for a launch."""
    kernel, named, _ = launch
    signature: dict[str, str] = {}
    constants: dict[tuple[int, ...], Any] = {}
    attributes: dict[tuple[int, ...], list[list[Any]]] = {}
    for place, parameter in enumerate(kernel.params):
        value = named[parameter.name]
        if parameter.is_constexpr:
            signature[parameter.name] = "constexpr"
            constants[(place,)] = value
            continue
        if isinstance(value, torch.Tensor):
            signature[parameter.name] = _TYPES[value.dtype]
            divisible = True
        else:
            signature[parameter.name] = "fp32" if isinstance(value, float) else "i32"
            divisible = isinstance(value, int) and value % 16 == 0
        specialized = not (parameter.do_not_specialize or parameter.do_not_specialize_on_alignment)
        if divisible and specialized:
            attributes[(place,)] = [["tt.divisibility", 16]]
    return ASTSource(kernel, signature, constants, attributes)


def compiled(source: ASTSource, options: dict[str, Any], capability: int) -> dict[str, Any]:
    """Compiles a kernel for a card, for the first time, and returns what it takes there."""
    with knobs.nvidia.scope(), redirect_stdout(StringIO()) as said:
        knobs.nvidia.dump_ptxas_log = True
        built = compile(source, target=GPUTarget("cuda", capability, 32), options=options)
    return {
        "kernel": source.fn.__name__,
        "capability": capability,
        "shared": built.metadata.shared,
        "moved_in_loops": _moved_in_loops(built.asm["ttgir"]),
        **_resources(said.getvalue()),
    }


def _moved_in_loops(intermediate: str) -> int:
    """Returns the most numbers that a loop moves from one layout to another at once."""
    loops = re.findall(r"scf\.for.*?scf\.yield", intermediate, re.DOTALL)
    shapes = re.findall(r"ttg\.convert_layout .*? : tensor<([\dx]+)x\w+,", "".join(loops))
    return max((math.prod(map(int, shape.split("x"))) for shape in shapes), default=0)


def _resources(assembler_said: str) -> dict[str, int]:
    registers = re.search(r"Used (\d+) registers", assembler_said)
    stores = re.search(r"(\d+) bytes spill stores", assembler_said)
    assert registers is not None, assembler_said
    assert stores is not None, assembler_said
    return {"registers": int(registers[1]), "spilled_bytes": int(stores[1])}


def launch_all(shape: tuple[int, int, int, int, int], dtype: torch.dtype) -> None:
    """Launches every kernel as the engine does for a model.

    Args:
        shape: Its hidden size, intermediate size, head size, query heads and key/value heads.
        dtype: Its dtype.
    """
    hidden, intermediate, head_size, num_heads, num_shared = shape
    total = num_heads + 2 * num_shared

    def tensor(*sizes: int, of: torch.dtype = dtype) -> torch.Tensor:
        return torch.empty(sizes, dtype=of, device="meta")

    def index(count: int) -> torch.Tensor:
        return tensor(count, of=torch.int64)

    norm = (tensor(hidden), 1e-6)
    table = tensor(9, hidden)
    rotations, cache = tensor(2, 4096, head_size), tensor(4097, 2 * num_shared, head_size)
    plain = HeadParameters(num_heads, rotations)
    normalizing = HeadParameters(num_heads, rotations, tensor(head_size), tensor(head_size), 1e-6)
    heads = tensor(8, total, head_size)
    for parameters, num_splits in ((plain, 1), (normalizing, 16)):
        attend(heads, index(8), index(8), cache, parameters, num_splits)
        rotate_and_store(heads, 3, index(8), index(8), cache, parameters)
    states = tensor(8, hidden)
    elementwise.normalize(states, *norm)
    elementwise.add_and_normalize(states, states, *norm)
    steering = block_steering(tensor, 4, 8, hidden)
    elementwise.add_and_normalize(states, states, *norm, steering)
    window_factors(tensor(5, 4, of=torch.float32), index(8), index(8))
    elementwise.gate(tensor(8, 2 * intermediate))
    _launch_sampling(tensor, index)
    for rows in (1, MAX_FEW_ROWS):
        _launch_few(rows, shape, norm, table, tensor, index)


def _launch_sampling(
    tensor: Callable[..., torch.Tensor], index: Callable[[int], torch.Tensor]
) -> None:
    logits, amounts = tensor(8, 151_936, of=torch.float32), tensor(8, of=torch.float32)
    wanted, draws = tensor(8, of=torch.bool), tensor(8, of=torch.float64)
    draw_from_all(logits, wanted, amounts, index(8), amounts, amounts, draws, index(8))
    tokens = tensor(9, 4096, of=torch.int32)
    penalize(logits, index(8), index(8), tokens, index(9), amounts, amounts, amounts)


def _launch_few(
    rows: int,
    shape: tuple[int, int, int, int, int],
    norm: tuple[torch.Tensor, float],
    table: torch.Tensor,
    tensor: Callable[..., torch.Tensor],
    index: Callable[[int], torch.Tensor],
) -> None:
    hidden, intermediate, head_size, num_heads, num_shared = shape
    width, total = num_heads * head_size, (num_heads + 2 * num_shared) * head_size
    states = tensor(rows, hidden)
    multiply, steering = few_rows.multiply, (table, index(rows))
    multiply(states, tensor(total, hidden), tensor(total), QUERY_KEY_VALUE, norm=norm)
    multiply(tensor(rows, width), tensor(hidden, width), None, OUTPUT, residual=states)
    few_rows.gate_up(states, tensor(2 * intermediate, hidden), tensor(2 * intermediate), norm)
    gated = tensor(rows, intermediate)
    weight = tensor(hidden, intermediate)
    multiply(gated, weight, None, DOWN, residual=states, steering=steering)
    logits = tensor(rows, 151_936, of=torch.float32)
    multiply(states, tensor(151_936, hidden), None, HEAD, norm=norm, out=logits)


SHAPES = {
    "Qwen2.5-3B": (2048, 11008, 128, 16, 2),
    "heads of 64": (896, 4864, 64, 14, 2),
    "heads of 80": (2560, 6912, 80, 32, 32),
}


def main() -> int:
    """Compiles everything once for each card, and other shapes and float16 for one."""
    done: set[tuple[str, str, int]] = set()
    for dtype, name, capabilities in (
        (torch.bfloat16, "Qwen2.5-3B", CAPABILITIES),
        (torch.bfloat16, "heads of 80", (90,)),
        (torch.float16, "heads of 64", (80,)),
    ):
        with recorded_launches() as launches:
            launch_all(SHAPES[name], dtype)
        for launch in launches:
            source, options = source_of(launch), launch[2]
            for capability in capabilities:
                kind = source.hash(), str(options), capability
                if kind not in done:
                    done.add(kind)
                    row = {"model": name, **compiled(source, options, capability)}
                    print(json.dumps(row), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
