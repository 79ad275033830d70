"""Invariant 4 of the design: chunks join to the one-shot text, and no stop string leaks."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from triton_models.text.answer_stream import AnswerStream, Release

TEXTS = st.text(alphabet="ab .é漢🙂👩‍🚀\u0301", max_size=30)
STOP_WORDS = st.lists(st.text(alphabet="ab .漢🙂", min_size=1, max_size=4), max_size=3)


def cut(data: bytes, cuts: list[int]) -> list[bytes]:
    """Cuts bytes into tokens, anywhere, also inside characters."""
    edges = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[start:end] for start, end in pairwise(edges)]


def run(tokens: list[bytes], stop_words: list[str]) -> tuple[list[Release], list[str], bool]:
    """Streams tokens, and returns the releases, each one's text, and whether a stop word came."""
    stream = AnswerStream(stop_words)
    releases = []
    stopped = False
    for index, token in enumerate(tokens):
        stopped = stream.push(index, token)
        if stopped:
            break
        releases.append(stream.take())
    releases.append(stream.finish())
    texts = [
        b"".join(tokens[index] for index in release.token_ids)[: release.num_bytes].decode(
            "utf-8", "replace"
        )
        for release in releases
    ]
    return releases, texts, stopped


@given(TEXTS, st.lists(st.integers(0, 200), max_size=20))
def test_chunks_join_to_the_whole_text_and_each_is_whole_utf8(text: str, cuts: list[int]) -> None:
    releases, texts, _ = run(cut(text.encode(), cuts), [])
    assert "".join(texts) == text
    assert all("\ufffd" not in chunk for chunk in texts)
    ids = [index for release in releases for index in release.token_ids]
    assert ids == list(range(len(ids)))


@given(st.binary(max_size=40), st.lists(st.integers(0, 200), max_size=20))
def test_chunks_of_any_bytes_join_to_the_one_shot_decoding(data: bytes, cuts: list[int]) -> None:
    _, texts, _ = run(cut(data, cuts), [])
    assert "".join(texts) == data.decode("utf-8", "replace")


@given(TEXTS, st.lists(st.integers(0, 200), max_size=20), STOP_WORDS)
def test_the_text_ends_before_the_first_stop_word_wherever_tokens_split_it(
    text: str, cuts: list[int], stop_words: list[str]
) -> None:
    _, texts, stopped = run(cut(text.encode(), cuts), stop_words)
    answer = "".join(texts)
    assert not any(word in answer for word in stop_words)
    assert stopped == any(word in text for word in stop_words)
    assert text.startswith(answer)
    if not stopped:
        assert answer == text


def test_a_possible_stop_word_is_held_until_it_is_decided() -> None:
    stream = AnswerStream(["<end>"])
    stream.push(1, b"hi")
    assert stream.take().token_ids == (1,)
    stream.push(2, b" <e")
    assert stream.take().token_ids == ()
    stream.push(3, b"gg>")
    assert stream.take().token_ids == (2, 3)


def test_a_stop_word_inside_a_token_cuts_it() -> None:
    stream = AnswerStream(["."])
    assert stream.push(7, b"done. More")
    assert stream.finish() == Release((7,), 4)


def test_a_stop_word_at_the_very_start_leaves_nothing() -> None:
    stream = AnswerStream(["no"])
    assert stream.push(1, b"none")
    assert stream.finish() == Release((), 0)
