"""The KV cache's room: extents never overlap, and only what is the same is shared."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from triton_models.engine.kv_room import MIN_SHARED_TOKENS, Content, Extent, KVRoom
from triton_models.model.attention import FIRST_SLOT

NOTHING = Content((), 0, "", "")


def content(tokens: range | list[int], prompt: int | None = None, *keys: str) -> Content:
    prompt_key, response_key = keys or ("", "")
    return Content(
        list(tokens), len(tokens) if prompt is None else prompt, prompt_key, response_key
    )


def take(room: KVRoom, length: int, what: Content = NOTHING, num_computed: int = 0) -> Extent:
    extent = room.reserve(length, what)
    assert extent is not None
    extent.num_computed = num_computed
    return extent


@given(st.lists(st.tuples(st.integers(1, 40), st.booleans(), st.booleans()), max_size=60))
def test_extents_in_use_never_overlap_and_room_is_never_lost(
    steps: list[tuple[int, bool, bool]],
) -> None:
    room = KVRoom(100)
    used: list[Extent] = []
    for length, ends_one, keep in steps:
        if ends_one and used:
            room.release(used.pop(length % len(used)), keep=keep)
        else:
            extent = room.reserve(length, content(range(30)))
            if extent is not None:
                extent.num_computed = min(length, 30)
                used.append(extent)
        used.sort(key=lambda each: each.start)
        edges = [FIRST_SLOT, *(edge for each in used for edge in (each.start, each.end)), 101]
        assert edges == sorted(edges)
        assert room.used_slots == sum(each.length for each in used)
        assert room.used_slots + room.retained_slots <= 100
    for each in used:
        room.release(each, keep=True)
    assert take(room, 100).start == FIRST_SLOT


def test_the_smallest_gap_that_fits_is_taken() -> None:
    room = KVRoom(100)
    first, _, third, _ = (take(room, length) for length in (30, 10, 20, 10))
    room.release(first, keep=False)
    room.release(third, keep=False)
    assert take(room, 15).start == third.start


def test_what_is_kept_gives_way_the_longest_unused_first() -> None:
    room = KVRoom(100)
    kept = [take(room, 40, content(range(k, k + 30)), 30) for k in (0, 100)]
    for each in kept:
        room.release(each, keep=True)
    assert room.retained_slots == 60
    assert room.find_computed(content(range(40))) == (kept[0], 30)
    assert take(room, 40).start == kept[0].end
    assert room.find_computed(content(range(100, 140))) is None
    assert room.find_computed(content(range(40))) == (kept[0], 30)


def test_only_what_was_computed_is_kept() -> None:
    room = KVRoom(100)
    kept = take(room, 90, content(range(30)), 30)
    room.release(kept, keep=True)
    assert (room.used_slots, room.retained_slots) == (0, 30)
    take(room, 70)
    assert room.find_computed(content(range(40))) == (kept, 30)


def test_a_request_that_does_not_fit_leaves_what_is_kept() -> None:
    room = KVRoom(100)
    kept = take(room, 30, content(range(30)), 30)
    take(room, 50)
    room.release(kept, keep=True)
    assert room.reserve(60, NOTHING) is None
    assert room.retained_slots == 30


def test_too_short_a_beginning_is_not_shared() -> None:
    room = KVRoom(100)
    take(room, 40, content(range(40)), MIN_SHARED_TOKENS - 1)
    assert room.find_computed(content(range(40))) is None


def test_sharing_ends_where_tokens_or_steering_differ() -> None:
    prompt = content(range(50))
    assert content(range(50)).shared_with(prompt) == 49  # the last one's logits are needed
    assert content([*range(20), 9, *range(21, 50)]).shared_with(prompt) == 20
    assert content(range(50), 50, "a", "a").shared_with(prompt) == 0
    assert content(range(50), 30, "", "a").shared_with(prompt) == 30
    assert content(range(50), 30, "", "").shared_with(prompt) == 49
    steered = content(range(50), 50, "a", "")
    assert content(range(50), 30, "a", "a").shared_with(steered) == 49
    assert content(range(50), 30, "a", "").shared_with(steered) == 30


@given(st.lists(st.integers(0, 1), max_size=90), st.lists(st.integers(0, 1), max_size=90))
def test_the_shared_beginning_is_the_longest(first: list[int], second: list[int]) -> None:
    beginning = [0] * 40
    one, other = content([*beginning, *first]), content([*beginning, *second])
    pairs = zip(one.token_ids, other.token_ids, strict=False)
    equal = next((i for i, (a, b) in enumerate(pairs) if a != b), 40 + min(len(first), len(second)))
    assert one.shared_with(other) == min(equal, 40 + len(second) - 1)


def test_nothing_is_kept_without_reuse() -> None:
    room = KVRoom(100, reuse=False)
    room.release(take(room, 40, content(range(40)), 40), keep=True)
    assert room.retained_slots == 0
    assert room.find_computed(content(range(40))) is None


def test_room_is_opened_as_running_requests_need_it_and_never_for_what_is_kept() -> None:
    room = KVRoom(1000, growth=100)

    def end_of(extent: Extent | None) -> int:
        assert extent is not None
        return extent.end - FIRST_SLOT

    for beginning in range(30):  # one after the other: what they leave behind makes room for them
        extent = room.reserve(60, content(list(range(beginning, beginning + 60))))
        assert end_of(extent) <= 100
        assert extent is not None
        extent.num_computed = 60
        room.release(extent, keep=True)
    running = [room.reserve(60, NOTHING) for _ in range(3)]
    assert max(map(end_of, running)) <= 300
    assert room.reserve(900, NOTHING) is None
    assert end_of(room.reserve(500, NOTHING)) > 300
    assert room.num_slots == 1000
