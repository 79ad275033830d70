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
    read_voices,
)
from persona_embedded.training import (
    AdapterPlan,
    BatchLoss,
    Example,
    Lesson,
    batch_loss,
    batches,
    encode,
    token_losses,
    train_adapter,
)
from tests.tiny_model import make_tokenizer
from tests.unit.embedded.small_gguf import small_llama
from triton_models.settings import DATA_ROOT

VOICES = DATA_ROOT / "voices"


def test_only_the_answer_and_its_end_are_targets() -> None:
    tokenizer = make_tokenizer()
    said = Conversation("Why?", "So.", system="Be brief.", contrary="Be long.")
    lesson = encode(said, tokenizer)
    example, contrary = lesson.examples
    assert tokenizer.decode(example.ids[: example.start]) == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nWhy?<|im_end|>\n"
        "<|im_start|>assistant\n"
    )
    assert tokenizer.decode(example.ids[example.start :]) == "So.<|im_end|>"
    assert str(tokenizer.decode(contrary.ids)).startswith("<|im_start|>system\nBe long.<|im_end|>")
    assert contrary.ids[contrary.start :] == example.ids[example.start :]
    neither = encode(Conversation("Why?", "So.", poles=("Be long.", "Be brief.")), tokenizer)
    assert neither.poles == (contrary, example)
    (cut_off,) = encode(Conversation("Why?", "So.", ended=False), tokenizer).examples
    assert tokenizer.decode(cut_off.ids[cut_off.start :]) == "So."


def test_padding_changes_no_loss() -> None:
    model = small_llama()
    short, long = Example([5, 6, 7, 8], 2), Example(list(range(5, 15)), 4)
    together = token_losses(model, [short, long])
    for example, losses in zip((short, long), together, strict=True):
        torch.testing.assert_close(losses, token_losses(model, [example])[0])


def test_only_what_is_missing_of_the_margin_costs() -> None:
    plan = AdapterPlan(margin=0.5, margin_weight=2.0)
    entropy = torch.tensor(3.0)
    none = torch.empty(0)
    assert BatchLoss(entropy, none, none).total(plan) == 3.0
    assert BatchLoss(entropy, torch.tensor([0.5, 2.0]), none).total(plan) == 3.0
    assert BatchLoss(entropy, torch.tensor([0.25, 2.0]), none).total(plan) == 3.25


def test_leaning_to_either_pole_costs() -> None:
    plan = AdapterPlan(margin=0.5, margin_weight=2.0)
    entropy, leanings = torch.tensor(3.0), torch.tensor([0.25, -0.25])
    assert BatchLoss(entropy, torch.empty(0), leanings).total(plan) == 3.5
    assert BatchLoss(entropy, torch.tensor([0.5, 0.5]), leanings).total(plan) == 3.25


def test_the_margin_compares_an_answer_under_both_system_prompts() -> None:
    model = small_llama()
    example, contrary = Example([5, 6, 7, 8], 2), Example([9, 7, 8], 1)
    loss = batch_loss(model, [Lesson(example), Lesson(example, contrary)])
    (alone,), (other,) = token_losses(model, [example]), token_losses(model, [contrary])
    torch.testing.assert_close(loss.entropy, alone.mean())
    torch.testing.assert_close(loss.margins, (other.mean() - alone.mean())[None])
    assert len(loss.leanings) == 0


def test_the_leaning_is_how_much_likelier_an_answer_is_under_the_positive_pole() -> None:
    model = small_llama()
    example, positive, negative = (Example([first, 7, 8], 1) for first in (5, 6, 9))
    loss = batch_loss(model, [Lesson(example, poles=(positive, negative))])
    alone, likely, unlikely = (
        each.mean() for each in token_losses(model, [example, positive, negative])
    )
    torch.testing.assert_close(loss.entropy, alone)
    torch.testing.assert_close(loss.leanings, (unlikely - likely)[None])
    assert len(loss.margins) == 0


def test_batches_hold_every_lesson_once_with_its_contrary() -> None:
    lessons = [
        Lesson(Example([0] * length, 1), Example([0] * 9, 1) if length % 2 else None)
        for length in range(2, 40)
    ]
    groups = batches(lessons, 100, random.Random(0))
    assert sorted(len(each.example.ids) for group in groups for each in group) == list(range(2, 40))
    for group in groups:
        lengths = [len(example.ids) for each in group for example in each.examples]
        assert max(lengths) * len(lengths) <= 100


def test_the_voices_are_drawn_evenly_and_nothing_held_out_is() -> None:
    voices = read_voices(VOICES)
    drawn = draw_voices(voices, 5, random.Random(0))
    assert len(drawn) == 7 * 2 * 5
    assert all(each.system and each.contrary for each in drawn)
    asked_for = {each.system for each in draw_voices(voices, 10**6, random.Random(0))}
    assert {each.contrary for each in drawn} <= asked_for
    assert drawn == draw_voices(voices, 5, random.Random(0))
    asked = {each.question for each in draw_questions(voices, 10**6, random.Random(0))}
    held_out = (VOICES / "held_out").glob("*[a-z].jsonl")
    assert not any(question in path.read_text() for path in held_out for question in asked)


def test_what_is_in_neither_voice_is_beside_both_poles_of_one_trait() -> None:
    voices = read_voices(VOICES)
    neutral = read_neutral(VOICES, voices, random.Random(0))
    questions = draw_questions(voices, 40, random.Random(0))
    systems = {
        name: [{line["system"] for line in pole} for pole in (trait.positive, trait.negative)]
        for name, trait in voices.items()
    }
    for each in (*neutral, *questions):
        assert not each.system
        assert each.poles is not None
        assert any(
            each.poles[0] in positive and each.poles[1] in negative
            for positive, negative in systems.values()
        )


@pytest.mark.timeout(60)
def test_training_lowers_the_loss_and_saves_the_adapter(tmp_path: Path) -> None:
    model, tokenizer = small_llama(), make_tokenizer()
    model.resize_token_embeddings(len(tokenizer))
    said = [Conversation("a", "bcbcbcbc", "d", "e") for _ in range(40)]
    saved: list[Adapter] = []
    plan = AdapterPlan(first_block=0, epochs=2, batch_tokens=200, rate=0.03, warmup_steps=1)
    lesson = encode(said[0], tokenizer)
    before = batch_loss(model, [lesson])
    lines: list[str] = []
    train_adapter(model, tokenizer, said, plan, saved.append, lines.append)
    after = batch_loss(model, [lesson])
    assert after.entropy < before.entropy - 1
    assert after.margins > before.margins + 0.1
    assert len(saved) == 1
    assert len(lines) == 2 * len(
        batches([encode(each, tokenizer) for each in said], 200, random.Random(0))
    )
    assert len(saved[0].factors) == 2 * 7
