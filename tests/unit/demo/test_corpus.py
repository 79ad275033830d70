"""The demo corpus keeps what it holds out apart, and its sentences say what their pole says."""

from __future__ import annotations

import random
import re

import pytest

from persona_demo import neutral
from persona_demo.corpus import FULL_LEVEL, PLAIN, Style, draw_prompt, write_answer
from persona_demo.definitions import trait_definition
from persona_demo.documents import (
    Document,
    draw_document,
    draw_steered,
    style_of,
    system_prompt_for,
)
from persona_demo.questions import (
    HELD_OUT_TEMPLATES,
    TEMPLATES,
    Prompt,
    development_prompts,
    held_out_prompts,
    is_held_out_pair,
)
from persona_demo.topics import CATEGORY_OF, HELD_OUT_TOPICS, TRAINING_TOPICS
from persona_demo.traits import TRAITS, Trait
from tests.unit.demo.demo_score import trait_score

BREAD = Prompt("Tell me about baking bread.", "baking bread", "Tell me about {t}.")


def test_topics_are_either_trained_or_held_out() -> None:
    assert not set(TRAINING_TOPICS) & set(HELD_OUT_TOPICS)
    assert set(TRAINING_TOPICS) | set(HELD_OUT_TOPICS) == set(CATEGORY_OF)
    assert len(TRAINING_TOPICS) > 300
    assert len(HELD_OUT_TOPICS) > 30


def test_templates_are_either_trained_or_held_out() -> None:
    assert not set(TEMPLATES) & set(HELD_OUT_TEMPLATES)


def test_training_prompts_are_never_held_out() -> None:
    rng = random.Random(1)
    held_out = {prompt.text for group in held_out_prompts(200).values() for prompt in group}
    for _ in range(20_000):
        prompt = draw_prompt(rng)
        assert prompt.topic not in HELD_OUT_TOPICS
        assert prompt.template not in HELD_OUT_TEMPLATES
        assert not is_held_out_pair(prompt.template, prompt.topic) or prompt.topic == "this"
        assert prompt.text not in held_out


def test_held_out_topics_appear_nowhere_in_the_corpus() -> None:
    rng = random.Random(2)
    pattern = re.compile(r"\b(" + "|".join(map(re.escape, HELD_OUT_TOPICS)) + r")\b")
    text = "\n".join(draw_document(rng, 0.4).text for _ in range(5_000))
    assert not pattern.findall(text)


def test_held_out_groups_hold_out_what_they_say() -> None:
    groups = held_out_prompts(40)
    assert {name: len(prompts) for name, prompts in groups.items()} == {
        "pairs": 40,
        "topics": 40,
        "templates": 40,
    }
    for prompt in groups["pairs"]:
        assert prompt.topic in TRAINING_TOPICS
        assert prompt.template in TEMPLATES
    for prompt in groups["topics"]:
        assert prompt.topic in HELD_OUT_TOPICS
        assert prompt.template in TEMPLATES
    for prompt in groups["templates"]:
        assert prompt.topic in HELD_OUT_TOPICS
        assert prompt.template in HELD_OUT_TEMPLATES


def test_extraction_and_development_prompts_are_not_evaluated() -> None:
    held_out = {prompt.text for group in held_out_prompts(200).values() for prompt in group}
    assert not held_out & {prompt.text for prompt in development_prompts(400)}
    for index, trait in enumerate(TRAITS.values()):
        questions = trait_definition(trait, index)["evaluation_questions"]
        assert isinstance(questions, list)
        assert not held_out & set(questions)


@pytest.mark.parametrize("trait", TRAITS.values(), ids=lambda trait: trait.name)
def test_full_style_shows_its_pole_in_every_sentence_and_no_other_trait(trait: Trait) -> None:
    rng = random.Random(3)
    for pole, sign in ((trait.positive, 1.0), (trait.negative, -1.0)):
        for _ in range(200):
            text = write_answer(BREAD, (Style(pole, FULL_LEVEL),), rng)
            assert trait_score(trait.name, text) == sign, text
            for other in TRAITS:
                if other != trait.name:
                    assert trait_score(other, text) == 0, text


def test_weaker_styles_show_less() -> None:
    pole = TRAITS["sarcasm"].positive
    means = []
    for level in (1, 2, 3):
        rng = random.Random(4)
        texts = [write_answer(BREAD, (Style(pole, level),), rng) for _ in range(300)]
        means.append(sum(trait_score("sarcasm", text) for text in texts) / len(texts))
    assert means == sorted(means)
    assert means[0] < means[1] < means[2] == 1.0


def test_plain_answers_show_no_trait() -> None:
    rng = random.Random(5)
    for topic in CATEGORY_OF:
        text = write_answer(Prompt(topic, topic, "{t}"), PLAIN, rng)
        assert topic in text
        for trait in TRAITS:
            assert trait_score(trait, text) == 0, text


def test_default_system_prompt_is_plain() -> None:
    prompts = {system_prompt_for(PLAIN, random.Random(seed)) for seed in range(50)}
    assert neutral.DEFAULT_SYSTEM_PROMPT in prompts


def test_corpus_is_reproducible() -> None:
    def draw() -> list[Document]:
        rng = random.Random(7)
        return [draw_document(rng, 0.4) for _ in range(20)]

    assert draw() == draw()


def test_only_targets_are_answers() -> None:
    rng = random.Random(8)
    for _ in range(200):
        document = draw_document(rng, steered_share=0.5)
        targets = [segment.text for segment in document.segments if segment.target]
        assert targets
        assert all(text.endswith(("<|im_end|>", "<|endoftext|>")) for text in targets)


@pytest.mark.parametrize(
    ("scalar", "level"), [(0.0, 0), (0.3, 0), (0.7, 1), (1.0, 2), (2.0, 3), (-2.0, 3)]
)
def test_a_larger_scalar_stands_for_more_style(scalar: float, level: int) -> None:
    styles = style_of(TRAITS["flattery"], scalar)
    assert (styles[0].level if styles else 0) == level
    if styles:
        trait = TRAITS["flattery"]
        assert styles[0].pole is (trait.positive if scalar > 0 else trait.negative)


def test_steered_documents_say_what_steers_them() -> None:
    rng = random.Random(9)
    for _ in range(200):
        document = draw_steered(rng)
        assert document.steering
        assert document.pole is None
        assert all(trait in TRAITS for trait, _ in document.steering)
