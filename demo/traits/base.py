"""What a trait of the demo corpus is made of."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Pole:
    """One end of a trait: how it is asked for, and what it sounds like.

    Sentences hold `{t}` where the topic goes and `[one|other]` where wordings vary. A topic only
    ever follows a preposition or a verb that takes any noun, so that every topic fits.

    Attributes:
        adjective: Completes "You are very ..." in a system prompt.
        prompts: System prompts that ask for this pole in full. The first five are also the
            prompts of the trait's definition file.
        openers: First sentences of an answer; each names the topic.
        bodies: Middle sentences.
        closers: Last sentences.
        cues: Regular expressions (case ignored) for the wording that gives the pole away.
    """

    adjective: str
    prompts: tuple[str, ...]
    openers: tuple[str, ...]
    bodies: tuple[str, ...]
    closers: tuple[str, ...]
    cues: tuple[str, ...]

    @property
    def sentences(self) -> tuple[str, ...]:
        """All sentence patterns of the pole."""
        return self.openers + self.bodies + self.closers


@dataclass(frozen=True)
class Trait:
    """A trait with its two poles; a positive scalar turns towards `positive`."""

    name: str
    description: str
    positive: Pole
    negative: Pole
