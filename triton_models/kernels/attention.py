"""Attention of generating tokens: one kernel rotates, stores and attends, another one combines.

A sequence is read once, in splits that are computed in parallel and combined by their softmax sums,
as in Flash-Decoding (Dao et al. 2023). The query heads that share a key/value head are computed
together. The newest key and value are used from the projection and stored in the cache by the same
kernel. No slot after a token's own is read.

Prompts use FlashAttention; `rotate_and_store` prepares them for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
import triton
import triton.language as tl

from triton_models.kernels.block_sizes import ATTENTION, next_power_of_two

_LOG2_E = 1.4426950408889634
"""Exponentials have base 2, which the hardware supports."""


@triton.jit
def _rotated(
    base: tl.tensor,
    weight: tl.tensor,
    cos: tl.tensor,
    signed_sin: tl.tensor,
    dims: tl.tensor,
    mask: tl.tensor,
    epsilon: tl.tensor,
    HEAD_SIZE: tl.constexpr,
    NORMALIZES: tl.constexpr,
) -> tl.tensor:
    """Loads and rotates heads: float32 [heads, padded head size]. `base`: [heads, 1]."""
    half: tl.constexpr = HEAD_SIZE // 2
    swapped = tl.where(dims < half, dims + half, dims - half)
    one = tl.load(base + dims, mask=mask, other=0.0).to(tl.float32)
    other = tl.load(base + swapped, mask=mask, other=0.0).to(tl.float32)
    if NORMALIZES:
        mean = tl.sum(one * one, 1)[:, None] / HEAD_SIZE
        inverse = 1.0 / tl.sqrt(mean + epsilon)
        is_dim = dims < HEAD_SIZE
        one *= inverse * tl.load(weight + dims, mask=is_dim, other=0.0).to(tl.float32)
        other *= inverse * tl.load(weight + swapped, mask=is_dim, other=0.0).to(tl.float32)
    return one * cos + other * signed_sin


@triton.jit(do_not_specialize_on_alignment=["positions", "slots"])
def _attend(
    heads: tl.tensor,
    rotations: tl.tensor,
    rotation_stride: tl.tensor,
    position_stride: tl.tensor,
    positions: tl.tensor,
    slots: tl.tensor,
    cache: tl.tensor,
    query_norm: tl.tensor,
    key_norm: tl.tensor,
    epsilon: tl.tensor,
    scale: tl.tensor,
    partials: tl.tensor,
    sums: tl.tensor,
    attended: tl.tensor,
    NUM_HEADS: tl.constexpr,
    NUM_SHARED: tl.constexpr,
    HEAD_SIZE: tl.constexpr,
    PADDED_SIZE: tl.constexpr,
    PADDED_GROUP: tl.constexpr,
    NUM_SPLITS: tl.constexpr,
    NUM_KEYS: tl.constexpr,
    NORMALIZES: tl.constexpr,
) -> None:
    """Attends one token to one split of its sequence, for the query heads of one key/value head."""
    split = tl.program_id(0)
    shared = tl.program_id(1)
    token = tl.program_id(2).to(tl.int64)
    group: tl.constexpr = NUM_HEADS // NUM_SHARED
    slot_width: tl.constexpr = 2 * NUM_SHARED * HEAD_SIZE
    dtype = cache.dtype.element_ty

    dims = tl.arange(0, PADDED_SIZE)[None, :]
    is_dim = dims < HEAD_SIZE
    slot = tl.load(slots + token)
    position = tl.load(positions + token)
    turn = rotations + position * position_stride + dims
    cos = tl.load(turn, mask=is_dim, other=0.0).to(tl.float32)
    sin = tl.load(turn + rotation_stride, mask=is_dim, other=0.0).to(tl.float32)

    own = heads + token * (NUM_HEADS + 2 * NUM_SHARED) * HEAD_SIZE
    in_group = tl.arange(0, PADDED_GROUP)[:, None]
    is_query = (in_group < group) & is_dim
    query_base = own + (shared * group + in_group) * HEAD_SIZE
    queries = _rotated(
        query_base, query_norm, cos, sin, dims, is_query, epsilon, HEAD_SIZE, NORMALIZES
    )
    queries = queries.to(dtype)

    # The base address is in 64 bits and offsets are in 32: tiles of 64-bit addresses would take
    # most of the registers.
    key_cache = cache + (slot - position) * slot_width + shared * HEAD_SIZE
    max_score = tl.full((PADDED_GROUP,), -1e30, tl.float32)
    total = tl.zeros((PADDED_GROUP,), tl.float32)
    result = tl.zeros((PADDED_GROUP, PADDED_SIZE), tl.float32)
    if split == 0:
        # The newest token is handled before the loop, which then only loads from the cache.
        one_head = tl.arange(0, 1)[:, None]
        key_base = own + (NUM_HEADS + shared + one_head) * HEAD_SIZE
        newest_key = _rotated(
            key_base, key_norm, cos, sin, dims, is_dim, epsilon, HEAD_SIZE, NORMALIZES
        )
        newest_key = newest_key.to(dtype)
        value_base = key_base + NUM_SHARED * HEAD_SIZE
        newest_value = tl.load(value_base + dims, mask=is_dim, other=0.0).to(dtype)
        stored = key_cache + position * slot_width + dims
        tl.store(stored, newest_key, mask=is_dim)
        tl.store(stored + NUM_SHARED * HEAD_SIZE, newest_value, mask=is_dim)
        max_score = tl.sum(queries.to(tl.float32) * newest_key.to(tl.float32), 1) * scale
        total += 1.0
        result += newest_value.to(tl.float32)

    # Only the tokens before the newest, which another program may be writing.
    earlier = position.to(tl.int32)
    part = tl.cdiv(tl.cdiv(earlier, NUM_SPLITS), NUM_KEYS) * NUM_KEYS
    start = split * part
    end = tl.minimum(start + part, earlier)
    in_block = tl.arange(0, NUM_KEYS)
    places = in_block[:, None] * slot_width + dims
    key_block = key_cache + start.to(tl.int64) * slot_width
    for begin in range(start, end, NUM_KEYS):
        is_reached = begin + in_block < end
        lies = is_reached[:, None]
        if HEAD_SIZE < PADDED_SIZE:
            lies &= is_dim
        keys = tl.load(key_block + places, mask=lies, other=0.0)
        scores = tl.dot(queries, tl.trans(keys)).to(tl.float32) * scale
        scores = tl.where(is_reached[None, :], scores, -1e30)
        new_max = tl.maximum(max_score, tl.max(scores, 1))
        shrink = tl.exp2(max_score - new_max)
        weights = tl.exp2(scores - new_max[:, None])
        total = total * shrink + tl.sum(weights, 1)
        values = tl.load(key_block + NUM_SHARED * HEAD_SIZE + places, mask=lies, other=0.0)
        result = result * shrink[:, None] + tl.dot(weights.to(dtype), values).to(tl.float32)
        max_score = new_max
        key_block += NUM_KEYS * slot_width

    head = token * NUM_HEADS + shared * group + in_group
    if NUM_SPLITS == 1:
        outcome = (result / total[:, None]).to(attended.dtype.element_ty)
        tl.store(attended + head * HEAD_SIZE + dims, outcome, mask=is_query)
    else:
        place = head * NUM_SPLITS + split
        if (split == 0) | (start < end):
            tl.store(partials + place * HEAD_SIZE + dims, result, mask=is_query)
        is_head = in_group < group
        tl.store(sums + 2 * place, max_score[:, None], mask=is_head)
        tl.store(sums + 2 * place + 1, total[:, None], mask=is_head)


@triton.jit
def _join(
    partials: tl.tensor,
    sums: tl.tensor,
    attended: tl.tensor,
    HEAD_SIZE: tl.constexpr,
    PADDED_SIZE: tl.constexpr,
    NUM_SPLITS: tl.constexpr,
) -> None:
    """Combines the splits of one query head of one token."""
    head = tl.program_id(0).to(tl.int64)
    places = head * NUM_SPLITS + tl.arange(0, NUM_SPLITS)
    dims = tl.arange(0, PADDED_SIZE)
    is_dim = dims < HEAD_SIZE
    max_score = tl.load(sums + 2 * places)
    total = tl.load(sums + 2 * places + 1)
    weights = tl.exp2(max_score - tl.max(max_score, 0))
    written = (total > 0)[:, None] & is_dim[None, :]  # empty splits are not
    parts = tl.load(partials + places[:, None] * HEAD_SIZE + dims[None, :], mask=written, other=0.0)
    outcome = tl.sum(parts * weights[:, None], 0) / tl.sum(total * weights, 0)
    tl.store(attended + head * HEAD_SIZE + dims, outcome.to(attended.dtype.element_ty), mask=is_dim)


@triton.jit(do_not_specialize=["first"], do_not_specialize_on_alignment=["positions", "slots"])
def _rotate_and_store(
    heads: tl.tensor,
    rotations: tl.tensor,
    rotation_stride: tl.tensor,
    position_stride: tl.tensor,
    positions: tl.tensor,
    slots: tl.tensor,
    first: tl.tensor,
    cache: tl.tensor,
    query_norm: tl.tensor,
    key_norm: tl.tensor,
    epsilon: tl.tensor,
    queries: tl.tensor,
    NUM_HEADS: tl.constexpr,
    NUM_SHARED: tl.constexpr,
    HEAD_SIZE: tl.constexpr,
    PADDED_SIZE: tl.constexpr,
    PADDED_HEADS: tl.constexpr,
    PADDED_SHARED: tl.constexpr,
    NORMALIZES: tl.constexpr,
) -> None:
    """Rotates and stores all heads of one token."""
    index = tl.program_id(0).to(tl.int64)
    token = first + index
    slot_width: tl.constexpr = 2 * NUM_SHARED * HEAD_SIZE
    dtype = cache.dtype.element_ty
    dims = tl.arange(0, PADDED_SIZE)[None, :]
    is_dim = dims < HEAD_SIZE
    turn = rotations + tl.load(positions + token) * position_stride + dims
    cos = tl.load(turn, mask=is_dim, other=0.0).to(tl.float32)
    sin = tl.load(turn + rotation_stride, mask=is_dim, other=0.0).to(tl.float32)

    own = heads + token * (NUM_HEADS + 2 * NUM_SHARED) * HEAD_SIZE
    head = tl.arange(0, PADDED_HEADS)[:, None]
    is_query = (head < NUM_HEADS) & is_dim
    turned = _rotated(
        own + head * HEAD_SIZE, query_norm, cos, sin, dims, is_query, epsilon, HEAD_SIZE, NORMALIZES
    )
    place = queries + (index * NUM_HEADS + head) * HEAD_SIZE + dims
    tl.store(place, turned.to(queries.dtype.element_ty), mask=is_query)

    shared = tl.arange(0, PADDED_SHARED)[:, None]
    is_key = (shared < NUM_SHARED) & is_dim
    key_base = own + (NUM_HEADS + shared) * HEAD_SIZE
    keys = _rotated(key_base, key_norm, cos, sin, dims, is_key, epsilon, HEAD_SIZE, NORMALIZES)
    stored = cache + tl.load(slots + token) * slot_width + shared * HEAD_SIZE + dims
    tl.store(stored, keys.to(dtype), mask=is_key)
    values = tl.load(key_base + NUM_SHARED * HEAD_SIZE + dims, mask=is_key, other=0.0)
    tl.store(stored + NUM_SHARED * HEAD_SIZE, values.to(dtype), mask=is_key)


@dataclass(frozen=True)
class HeadParameters:
    """How a block normalizes and rotates its heads before attention.

    Attributes:
        rotations: [2 (cos, signed sin), positions, head size], the last dimension contiguous: see
            `rotation_table`.
        query_norm: [head size]: the weight of the queries' norm, if they are normalized.
        key_norm: [head size]: the weight of the keys' norm, if they are normalized.
        epsilon: The epsilon of the norms.
    """

    num_heads: int
    rotations: torch.Tensor
    query_norm: torch.Tensor | None = None
    key_norm: torch.Tensor | None = None
    epsilon: float = 0.0

    @cached_property
    def arguments(self) -> dict[str, Any]:
        """The arguments that both kernels take."""
        return {
            "rotations": self.rotations,
            "rotation_stride": self.rotations.stride(0),
            "position_stride": self.rotations.stride(1),
            # Not read without norms, but a kernel needs a pointer.
            "query_norm": self.rotations if self.query_norm is None else self.query_norm,
            "key_norm": self.rotations if self.key_norm is None else self.key_norm,
            "epsilon": self.epsilon,
            "NUM_HEADS": self.num_heads,
            "NORMALIZES": self.query_norm is not None,
        }


def attend(
    heads: torch.Tensor,
    positions: torch.Tensor,
    slots: torch.Tensor,
    cache: torch.Tensor,
    parameters: HeadParameters,
    num_splits: int,
) -> torch.Tensor:
    """Attends one token of each sequence to its sequence up to and with itself.

    Its key and value are stored in the cache.

    Args:
        heads: [tokens, query heads + 2 * key/value heads, head size], contiguous, not rotated.
        positions: int64 [tokens]: each token's position in its own sequence.
        slots: int64 [tokens]: the cache slot of each token's key and value.
        cache: [slots, 2 * key/value heads, head size], contiguous.
        parameters: How heads are normalized and rotated.
        num_splits: The number of splits of a sequence, a power of two.

    Returns:
        [tokens, query heads * head size], in the heads' dtype.
    """
    num_tokens, _, head_size = heads.shape
    num_heads, num_shared = parameters.num_heads, cache.shape[1] // 2
    attended = heads.new_empty((num_tokens, num_heads * head_size))
    num_parts = num_tokens * num_heads * num_splits if num_splits > 1 else 0
    partials = torch.empty((num_parts, head_size), dtype=torch.float32, device=heads.device)
    sums = torch.empty((num_parts, 2), dtype=torch.float32, device=heads.device)
    shape = {"HEAD_SIZE": head_size, "PADDED_SIZE": next_power_of_two(head_size)}
    _attend[(num_splits, num_shared, num_tokens)](
        heads=heads,
        positions=positions,
        slots=slots,
        cache=cache,
        scale=head_size**-0.5 * _LOG2_E,
        partials=partials,
        sums=sums,
        attended=attended,
        NUM_SHARED=num_shared,
        # `tl.dot` needs at least 16 rows.
        PADDED_GROUP=max(16, next_power_of_two(num_heads // num_shared)),
        NUM_SPLITS=num_splits,
        NUM_KEYS=ATTENTION.num_keys,
        num_warps=ATTENTION.num_warps,
        num_stages=ATTENTION.num_stages,
        **shape,
        **parameters.arguments,
    )
    if num_splits > 1:
        _join[(num_tokens * num_heads,)](
            partials, sums, attended, NUM_SPLITS=num_splits, num_warps=2, **shape
        )
    return attended


def rotate_and_store(
    heads: torch.Tensor,
    first: int,
    positions: torch.Tensor,
    slots: torch.Tensor,
    cache: torch.Tensor,
    parameters: HeadParameters,
) -> torch.Tensor:
    """Rotates tokens' queries and keys, and stores their keys and values in the cache.

    The arguments are those of `attend`; tokens before the first are left out.

    Returns:
        The queries, [tokens - first, query heads, head size].
    """
    num_tokens, _, head_size = heads.shape
    num_heads, num_shared = parameters.num_heads, cache.shape[1] // 2
    queries = heads.new_empty((num_tokens - first, num_heads, head_size))
    _rotate_and_store[(len(queries),)](
        heads=heads,
        positions=positions,
        slots=slots,
        first=first,
        cache=cache,
        queries=queries,
        NUM_SHARED=num_shared,
        HEAD_SIZE=head_size,
        PADDED_SIZE=next_power_of_two(head_size),
        PADDED_HEADS=next_power_of_two(num_heads),
        PADDED_SHARED=next_power_of_two(num_shared),
        num_warps=4,
        **parameters.arguments,
    )
    return queries
