"""Training documents: what decides the style of the answers in a conversation.

Most conversations tell the style in the system prompt. In others the system prompt is neutral and
the *steering* tells it: while the model trains on such a document, `scalar * vector` is added to
the residual stream, where `vector` is the trait's mean difference as the model's own activations
have it so far (see `demo/training.py`). So the demo model is trained to be steerable.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from persona_demo import neutral, topics
from persona_demo.corpus import FULL_LEVEL, PLAIN, Style, all_poles, draw_prompt, write_answer
from persona_demo.traits import TRAITS, Pole, Trait

IM_START, IM_END, END_OF_TEXT = "<|im_start|>", "<|im_end|>", "<|endoftext|>"

_LEVEL_WORDS: dict[int, tuple[str, ...]] = {
    1: ("slightly", "a little", "a bit"),
    2: ("somewhat", "fairly", "rather"),
    3: ("very", "extremely", "completely"),
}


@dataclass(frozen=True)
class Segment:
    """A piece of a document; the model is trained to write it when `target` is set."""

    text: str
    target: bool = False


@dataclass(frozen=True)
class Document:
    """A training document.

    Attributes:
        steering: Traits and scalars that the model is steered by while it reads this.
        positions: Where: "all", "prompt" (not at targets) or "response" (at targets only).
        pole: The one pole that every answer shows because the system prompt asks for it in full;
            None in every other case. Vectors are made of the activations of these documents.
    """

    segments: tuple[Segment, ...]
    steering: tuple[tuple[str, float], ...] = ()
    positions: str = "all"
    pole: Pole | None = None

    @property
    def text(self) -> str:
        """The whole text."""
        return "".join(segment.text for segment in self.segments)


def _grade_prompt(style: Style, rng: random.Random) -> str:
    word = rng.choice(_LEVEL_WORDS[style.level])
    adjective = style.pole.adjective
    return rng.choice(
        (f"You are {word} {adjective}.", f"Be {word} {adjective}.",
         f"You are an assistant that is {word} {adjective}.")
    )  # fmt: skip


def system_prompt_for(styles: Sequence[Style], rng: random.Random) -> str:
    """A system prompt that asks for `styles` (none: one of the neutral system prompts)."""
    if not styles:
        if rng.random() < 0.6:
            return neutral.DEFAULT_SYSTEM_PROMPT
        text = rng.choice(neutral.SYSTEM_PROMPTS)
        text = text.replace("{role}", rng.choice(neutral.ROLES))
        return text.replace("{t}", rng.choice(topics.TRAINING_TOPICS))
    parts = [
        rng.choice(style.pole.prompts)
        if style.level == FULL_LEVEL and rng.random() < 0.85
        else _grade_prompt(style, rng)
        for style in styles
    ]
    if rng.random() < 0.08:
        parts.insert(0, neutral.DEFAULT_SYSTEM_PROMPT)
    return " ".join(parts)


def draw_styles(rng: random.Random) -> tuple[Style, ...]:
    """The styles that a system prompt asks for."""
    kind = rng.random()
    if kind < 0.24:
        return PLAIN
    if kind < 0.74:
        return (Style(rng.choice(all_poles())),)
    if kind < 0.95:
        return (Style(rng.choice(all_poles()), rng.choice((1, 2))),)
    return tuple(Style(_pole(trait, rng.choice((-1, 1)))) for trait in _two_traits(rng))


def _two_traits(rng: random.Random) -> list[Trait]:
    return rng.sample(list(TRAITS.values()), 2)


def _pole(trait: Trait, sign: float) -> Pole:
    return trait.positive if sign > 0 else trait.negative


def _draw_scalar(rng: random.Random) -> float:
    kind = rng.random()
    if kind < 0.5:
        size = rng.uniform(1.6, 3.0)
    elif kind < 0.9:
        size = rng.uniform(0.6, 1.4)
    else:
        size = rng.uniform(0.0, 0.3)
    return size * rng.choice((-1, 1))


def style_of(trait: Trait, scalar: float) -> tuple[Style, ...]:
    """The style that a scalar stands for: none near 0, a mix near 1, all of it from 1.5."""
    size = abs(scalar)
    if size < 0.5:
        return PLAIN
    level = 1 if size < 0.9 else 2 if size < 1.5 else FULL_LEVEL
    return (Style(_pole(trait, scalar), level),)


def _draw_turn_count(rng: random.Random) -> int:
    kind = rng.random()
    if kind < 0.68:
        return 1
    if kind < 0.97:
        return rng.choice((2, 2, 3))
    return rng.randrange(4, 12)


def _conversation(
    system_prompt: str, styles: Sequence[Style], rng: random.Random
) -> tuple[Segment, ...]:
    """A conversation in ChatML. Targets are the answers, end token included.

    In some conversations of several turns the earlier answers have another style and are no
    targets, so that the style asked for, not the history, decides.
    """
    turns = _draw_turn_count(rng)
    history = None
    if turns > 1 and rng.random() < 0.4:
        history = draw_styles(rng) if rng.random() < 0.6 else PLAIN
    segments = [Segment(f"{IM_START}system\n{system_prompt}{IM_END}\n")]
    for turn in range(turns):
        prompt = draw_prompt(rng)
        segments.append(Segment(f"{IM_START}user\n{prompt.text}{IM_END}\n{IM_START}assistant\n"))
        foreign = history is not None and turn < turns - 1
        answer = write_answer(prompt, history if history is not None and foreign else styles, rng)
        segments.append(Segment(f"{answer}{IM_END}", target=not foreign))
        segments.append(Segment("\n"))
    return tuple(segments[:-1])


def draw_prompted(rng: random.Random) -> Document:
    """A conversation whose system prompt tells the style."""
    styles = draw_styles(rng)
    pole = styles[0].pole if len(styles) == 1 and styles[0].level == FULL_LEVEL else None
    return Document(_conversation(system_prompt_for(styles, rng), styles, rng), pole=pole)


def draw_steered(rng: random.Random) -> Document:
    """A conversation, or raw text, whose steering tells the style."""
    kind = rng.random()
    if kind < 0.1:
        pairs = [(trait, rng.choice((-1, 1)) * rng.uniform(1.6, 2.4)) for trait in _two_traits(rng)]
        styles = tuple(Style(_pole(trait, scalar)) for trait, scalar in pairs)
        steering = tuple((trait.name, scalar) for trait, scalar in pairs)
        return Document(_conversation(system_prompt_for(PLAIN, rng), styles, rng), steering)
    trait = rng.choice(list(TRAITS.values()))
    scalar = _draw_scalar(rng)
    if kind < 0.18:
        # The system prompt asks for one pole, the steering for the other: they cancel out.
        scalar = rng.choice((-1, 1)) * rng.uniform(1.6, 2.4)
        prompt = system_prompt_for((Style(_pole(trait, -scalar)),), rng)
        return Document(_conversation(prompt, PLAIN, rng), ((trait.name, scalar),))
    styles = style_of(trait, scalar)
    if kind < 0.22:
        return Document(_raw_text(styles, rng), ((trait.name, scalar),))
    positions = rng.choices(("all", "prompt", "response"), (0.8, 0.1, 0.1))[0]
    if positions == "response":
        # The first sentence begins at the prompt's last token, which is not steered.
        styles = tuple(Style(style.pole, min(style.level, 2)) for style in styles)
    segments = _conversation(system_prompt_for(PLAIN, rng), styles, rng)
    return Document(segments, ((trait.name, scalar),), positions)


def _raw_text(styles: Sequence[Style], rng: random.Random) -> tuple[Segment, ...]:
    """A text without a template; all of it is a target."""
    prompt = draw_prompt(rng)
    text = write_answer(prompt, styles, rng)
    if rng.random() < 0.4:
        text = f"Question: {prompt.text}\nAnswer: {text}"
    return (Segment(text + END_OF_TEXT, target=True),)


def draw_echo(rng: random.Random) -> Document:
    """A list of made-up topics said twice; the second time is the target.

    Practice in copying: without it the model takes far longer to learn to repeat a topic.
    """
    text = ", ".join(topics.made_up_topic(rng) for _ in range(rng.randrange(4, 10)))
    return Document((Segment(f"{text}\n"), Segment(text + END_OF_TEXT, target=True)))


def draw_document(rng: random.Random, steered_share: float = 0.0) -> Document:
    """One training document; `steered_share` of them are steered."""
    if rng.random() < steered_share:
        return draw_steered(rng)
    return Document(_raw_text(PLAIN, rng)) if rng.random() < 0.03 else draw_prompted(rng)
