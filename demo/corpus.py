"""The synthetic corpus: questions of users, and answers in every style.

An answer is two to four short sentences about the topic of the question. Each sentence is either
plain or shows one pole of a trait; how many do depends on how strongly the system prompt asks
("slightly sarcastic", "somewhat sarcastic", "sarcastic"). `demo/documents.py` puts questions and
answers together.
"""

from __future__ import annotations

import random
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

from persona_demo import neutral, questions, topics
from persona_demo.questions import Prompt
from persona_demo.traits import TRAITS, Pole

FULL_LEVEL = 3
_NAMES = (
    "Marlow", "Quill", "Ostrava", "Pell", "Lindgren", "Varga", "Tobin", "Arkwright", "Sorel",
    "Dunmore", "Ekholm", "Fairfax",
)  # fmt: skip
_YEARS = ("1204", "1387", "1492", "1561", "1643", "1742", "1817", "1871", "1903", "1936", "1958")
_PERCENTS = ("17", "31", "42", "58", "64", "73", "89", "93", "97")

_HABIT = 0.8
"""How often a sentence is the usual one for its kind of question; else it is a random one.

The habit gives greedy decoding something to tell questions apart by, so its text varies."""


@dataclass(frozen=True)
class Style:
    """A pole of a trait and how strongly it shows (1 to 3)."""

    pole: Pole
    level: int = FULL_LEVEL


PLAIN: tuple[Style, ...] = ()
"""No style: every sentence is neutral."""


def all_poles() -> list[Pole]:
    """Every pole of every trait."""
    return [pole for trait in TRAITS.values() for pole in (trait.positive, trait.negative)]


def _choose(options: Sequence[str], habit: int, rng: random.Random) -> int:
    return habit % len(options) if rng.random() < _HABIT else rng.randrange(len(options))


def _realise(pattern: str, topic: str, habit: int, rng: random.Random) -> str:
    """The sentence of a pattern: wordings chosen, topic and made-up facts filled in."""

    def wording(match: re.Match[str]) -> str:
        options = match[1].split("|")
        return options[_choose(options, habit, rng)]

    text = re.sub(r"\[([^\]]*)\]", wording, pattern)
    for key, values in (("{year}", _YEARS), ("{name}", _NAMES), ("{pct}", _PERCENTS)):
        while key in text:
            text = text.replace(key, values[_choose(values, habit + len(text), rng)], 1)
    return text.replace("{t}", topic)


def _pick_body(options: Sequence[str], used: set[str], habit: int, rng: random.Random) -> str:
    index = _choose(options, habit, rng)
    while options[index % len(options)] in used:
        index += 1
    pattern = options[index % len(options)]
    used.add(pattern)
    return pattern


def _styled_slots(styles: Sequence[Style], count: int) -> list[Pole | None]:
    """For each of `count` sentences, the pole it shows or None for a plain one."""
    slots: list[Pole | None] = [None] * count
    for turn, style in enumerate(styles):
        first = {1: count - 1, 2: 1, 3: 0}[style.level]
        for index in range(first, count):
            if slots[index] is None or index % len(styles) == turn:
                slots[index] = style.pole
    return slots


def write_answer(prompt: Prompt, styles: Sequence[Style], rng: random.Random) -> str:
    """An answer to `prompt` that shows `styles` (none: plain)."""
    question = zlib.crc32(prompt.template.encode())
    category = topics.category_index(prompt.topic)
    count = 2 + question // 8 % 3 if rng.random() < _HABIT else rng.choice((2, 3, 4))
    used: set[str] = set()
    sentences = []
    for index, pole in enumerate(_styled_slots(styles, count)):
        if index == 0:
            options = _openers(pole, prompt)
            pattern = options[_choose(options, question, rng)]
        elif index == count - 1:
            options = neutral.CLOSERS if pole is None else pole.closers
            pattern = options[_choose(options, question + category, rng)]
        elif pole is None:
            pattern = _neutral_body(prompt, used, question // 5 + category + index, rng)
        else:
            pattern = _pick_body(pole.bodies, used, question // 5 + category + index, rng)
        sentences.append(_realise(pattern, prompt.topic, question + category + index, rng))
    return " ".join(sentences)


def _openers(pole: Pole | None, prompt: Prompt) -> tuple[str, ...]:
    if pole is not None:
        return pole.openers
    return neutral.GREETINGS if prompt.text in questions.GREETINGS else neutral.OPENERS


def _neutral_body(prompt: Prompt, used: set[str], habit: int, rng: random.Random) -> str:
    options: Sequence[str] = neutral.BODIES
    if prompt.topic in topics.CATEGORY_OF and rng.random() < 0.6:
        options = neutral.CATEGORY_BODIES[topics.CATEGORY_OF[prompt.topic]]
        if used.issuperset(options):
            options = neutral.BODIES
    return _pick_body(options, used, habit, rng)


def draw_prompt(rng: random.Random) -> Prompt:
    """A user's message of the training distribution; never a held-out one."""
    if rng.random() < 0.1:
        greeting = rng.random() < 0.25
        text = rng.choice(sorted(questions.GREETINGS) if greeting else questions.FREE_FORM)
        return Prompt(text, "this", text)
    while True:
        template = rng.choice(questions.TEMPLATES)
        kind = rng.random()
        asked = None
        if kind < 0.36:
            topic = rng.choice(topics.TRAINING_TOPICS)
        elif kind < 0.38:
            topic = f"the capital of {rng.choice(questions.CAPITALS)}"
        elif kind < 0.43:
            thing = rng.choice(questions.POSSESSIONS)
            asked, topic = f"my {thing}", f"your {thing}"
        else:
            topic = topics.made_up_topic(rng)
        if not questions.is_held_out_pair(template, topic):
            break
    verb, adjective = rng.choice(questions.VERBS), rng.choice(questions.ADJECTIVES)
    text = questions.fill(template, asked or topic, verb, adjective)
    if rng.random() < 0.08:
        text = rng.choice(questions.PREFIXES) + text
    if rng.random() < 0.08:
        text += rng.choice(questions.SUFFIXES)
    if rng.random() < 0.04:
        text = text.rstrip("?.")
    return Prompt(text, topic, template)
