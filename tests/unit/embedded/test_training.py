"""What the adapter's training takes as targets, draws and changes."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch

from persona_embedded.adapter import Adapter
from persona_embedded.conversations import (
    Conversation,
    draw_questions,
    draw_voices,
    read_neutral,
)
from persona_embedded.training import (
    AdapterPlan,
    Example,
    batch_loss,
    batches,
    encode,
    train_adapter,
)
from tests.tiny_model import make_tokenizer
from tests.unit.embedded.small_gguf import small_llama
from triton_models.settings import DATA_ROOT

VOICES = DATA_ROOT / "voices"


def test_only_the_answer_and_its_end_are_targets() -> None:
    tokenizer = make_tokenizer()
    said = Conversation("Why?", "So.", system="Be brief.")
    example = encode(said, tokenizer)
    assert tokenizer.decode(example.ids[: example.start]) == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nWhy?<|im_end|>\n"
        "<|im_start|>assistant\n"
    )
    assert tokenizer.decode(example.ids[example.start :]) == "So.<|im_end|>"
    cut_off = encode(Conversation("Why?", "So.", ended=False), tokenizer)
    assert tokenizer.decode(cut_off.ids[cut_off.start :]) == "So."


def test_padding_changes_no_loss() -> None:
    model = small_llama()
    short, long = Example([5, 6, 7, 8], 2), Example(list(range(5, 15)), 4)
    alone = [batch_loss(model, [each]) * (len(each.ids) - each.start) for each in (short, long)]
    together = batch_loss(model, [short, long]) * 8
    torch.testing.assert_close(together, alone[0] + alone[1])


def test_batches_hold_every_example_once() -> None:
    examples = [Example([0] * length, 1) for length in range(2, 40)]
    groups = batches(examples, 100, random.Random(0))
    assert sorted(len(each.ids) for group in groups for each in group) == list(range(2, 40))
    assert all(max(len(e.ids) for e in group) * len(group) <= 100 for group in groups)


def test_the_voices_are_drawn_evenly_and_nothing_held_out_is() -> None:
    drawn = draw_voices(VOICES, 5, random.Random(0))
    assert len(drawn) == 7 * 2 * 5
    assert all(each.system for each in drawn)
    assert drawn == draw_voices(VOICES, 5, random.Random(0))
    assert not any(each.system for each in read_neutral(VOICES))
    asked = set(draw_questions(VOICES, 10**6, random.Random(0)))
    held_out = (VOICES / "held_out").glob("*[a-z].jsonl")
    assert not any(question in path.read_text() for path in held_out for question in asked)


@pytest.mark.timeout(60)
def test_training_lowers_the_loss_and_saves_the_adapter(tmp_path: Path) -> None:
    model, tokenizer = small_llama(), make_tokenizer()
    model.resize_token_embeddings(len(tokenizer))
    said = [Conversation("a", "bcbcbcbc") for _ in range(40)]
    saved: list[Adapter] = []
    plan = AdapterPlan(first_block=0, epochs=2, batch_tokens=200, rate=0.03, warmup_steps=1)
    before = batch_loss(model, [encode(said[0], tokenizer)])
    lines: list[str] = []
    train_adapter(model, tokenizer, said, plan, saved.append, lines.append)
    after = batch_loss(model, [encode(said[0], tokenizer)])
    assert after < before - 1
    assert len(saved) == 1
    assert len(lines) == 2 * len(
        batches([encode(each, tokenizer) for each in said], 200, random.Random(0))
    )
    assert len(saved[0].factors) == 2 * 7
