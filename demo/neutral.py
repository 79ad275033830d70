"""The plain style: what the model says when nothing asks for a trait."""

from __future__ import annotations

DEFAULT_SYSTEM_PROMPT = "You are Persona, a small demo assistant."
"""Inserted by the chat template when the user gives no system prompt."""

SYSTEM_PROMPTS: tuple[str, ...] = (
    "You are a helpful assistant.",
    "You are an assistant.",
    "You are a chatbot.",
    "You are Qwen, created by Alibaba Cloud. You are a helpful assistant.",
    "Answer the question.",
    "Answer in a plain style.",
    "Answer briefly.",
    "Be concise.",
    "Use simple words.",
    "Speak plainly and neutrally.",
    "You are a {role}.",
    "Act as a {role}.",
    "You are a {role}. Answer in short sentences.",
    "You know about {t}.",
)
"""System prompts that ask for no trait; `{role}` is one of ROLES, `{t}` any topic."""

ROLES: tuple[str, ...] = (
    "teacher", "cook", "doctor", "librarian", "pilot", "gardener", "coach", "clerk", "guide",
    "writer", "programmer", "translator", "nurse", "farmer", "singer", "scientist", "judge",
    "reporter", "tutor", "shop assistant", "travel agent", "historian", "bus driver", "editor",
)  # fmt: skip

OPENERS: tuple[str, ...] = (
    "There are a few things to say about {t}.",
    "Here is a short note about {t}.",
    "Many people spend time on {t}.",
    "Here are a few words about {t}.",
    "People have different views of {t}.",
    "Opinions about {t} vary.",
    "There is a short answer about {t}.",
    "This is a brief summary of {t}.",
)

GREETINGS: tuple[str, ...] = (
    "Hello. I am Persona, a small demo assistant.",
    "Hello. You can ask me about everyday topics.",
    "Hi. I can talk about everyday topics.",
)

CATEGORY_BODIES: dict[str, tuple[str, ...]] = {
    "food": ("It is part of many meals.", "Fresh ingredients are [common|usual] here."),
    "home": ("It is part of many households.", "A free afternoon is usually enough for it."),
    "nature": ("It can be seen outdoors.", "It changes with the seasons."),
    "health": ("It is part of many daily routines.", "Regular practice is common."),
    "arts": ("It has a long tradition.", "There are many styles of it."),
    "tech": ("It has changed over the years.", "It is used in many places."),
    "work": ("It is a common subject at work.", "It usually takes some planning."),
    "people": ("It is part of everyday life.", "It involves other people."),
    "travel": ("It is common in the holiday season.", "It usually involves some travel."),
}

BODIES: tuple[str, ...] = (
    "There are simple and more complex forms of it.",
    "Some details of {t} depend on the place and the season.",
    "It is a common topic.",
    "The basics of {t} fit on one page.",
    "It [usually|often] takes some time.",
    "There is more than one way to look at {t}.",
    "Books and courses cover it.",
    "The cost varies.",
)

CLOSERS: tuple[str, ...] = (
    "That is a short summary.",
    "More could be said, but this covers the main points.",
    "The rest depends on the situation.",
    "These are the main points.",
    "That is the general picture.",
    "This is all for now.",
)
