"""A conversation under steering that may change from turn to turn."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from persona_client.cli.options import as_number
from persona_client.protocol import Options, Sampling
from persona_client.rest import CompletionStream, PersonaClient
from persona_client.results import LimitReached
from persona_client.steering import Steering


def describe(traits: dict[str, float]) -> str:
    """Returns traits and scalars as a person reads them."""
    return ", ".join(f"{name} {scalar:+g}" for name, scalar in traits.items()) or "baseline"


@dataclass
class Turn:
    """What was said, and what was answered."""

    user: str
    traits: dict[str, float]
    answer: str = ""


@dataclass
class Conversation:
    """What was said so far, and what the next answer is steered by; scalars of 0 are left out."""

    system: str = ""
    traits: dict[str, float] = field(default_factory=dict)
    turns: list[Turn] = field(default_factory=list)

    def messages(self) -> list[dict[str, str]]:
        """Returns the chat as requests have it; an answer that there is not yet is left out."""
        said = [("system", self.system)]
        for turn in self.turns:
            said += [("user", turn.user), ("assistant", turn.answer)]
        return [{"role": role, "content": text} for role, text in said if text]

    def steer(self, trait: str, scalar: float) -> None:
        """Turns a trait up or down, or off at 0."""
        if scalar:
            self.traits[trait] = scalar
        else:
            self.traits.pop(trait, None)

    def to_json(self) -> dict[str, Any]:
        """Returns what is worth keeping of it."""
        turns = [vars(turn) for turn in self.turns]
        return {"system": self.system, "traits": self.traits, "turns": turns}


class CommandError(Exception):
    """A command cannot be followed; its message says what would be right."""


class Leave(Exception):  # noqa: N818  # nothing went wrong
    """The person has had enough."""


class Chat:
    """Answers a person's lines: commands, or what to say to the model.

    Args:
        client: Talks to the server.
        conversation: What was said before.
        bounds: What holds for all answers, besides the traits that are turned up or down.
        options: The same, of how tokens are chosen.
        say: Tells the person what is no answer.

    Attributes:
        limits_reached: The limits that the newest answer has reached.
    """

    def __init__(
        self,
        client: PersonaClient,
        conversation: Conversation,
        bounds: Steering,
        options: Sampling,
        say: Callable[[str], None],
    ) -> None:
        self.conversation = conversation
        self.limits_reached: Sequence[LimitReached] = ()
        self._client = client
        self._bounds = bounds
        self._options = options
        self._say = say
        self._commands: dict[str, tuple[str, str, Callable[[str], None]]] = {
            "trait": ("NAME SCALAR", "turn a trait up or down; 0 turns it off", self._trait),
            "traits": ("", "list the traits, and how far each is turned", self._traits),
            "reset": ("", "turn all traits off", self._reset),
            "system": ("TEXT", "set the system turn; nothing removes it", self._system),
            "undo": ("", "take the last turn and its answer back", self._undo),
            "save": ("FILE", "write the conversation as JSON", self._save),
            "help": ("", "show the commands", self._help),
            "quit": ("", "leave", self._quit),
        }

    def command(self, line: str) -> None:
        """Follows a command, a line that begins with `/`.

        Raises:
            CommandError: It cannot be followed.
            PersonaError: The server failed.
            Leave: It says so.
        """
        name, _, argument = line.removeprefix("/").partition(" ")
        if name not in self._commands:
            known = ", ".join(f"/{each}" for each in self._commands)
            raise CommandError(f"there is no /{name}: the commands are {known}")
        takes, _, follow = self._commands[name]
        if argument.strip() and not takes:
            raise CommandError(f"/{name} takes nothing after it")
        follow(argument.strip())

    @contextmanager
    def answering(self, text: str) -> Iterator[Iterator[str]]:
        """Gives the pieces of the answer to what the person says.

        What came of an answer that is not read to its end stays in the conversation; if nothing
        came, neither does what the person said.

        Raises:
            PersonaError: The server failed.
        """
        self.limits_reached = ()
        turn = Turn(text, dict(self.conversation.traits))
        self.conversation.turns.append(turn)
        try:
            with self._stream(turn.traits) as stream:
                yield self._pieces(stream, turn)
        finally:
            if not turn.answer:
                self.conversation.turns.remove(turn)

    def _stream(self, traits: dict[str, float]) -> CompletionStream:
        asked = cast(Options, {**self._options, "messages": self.conversation.messages()})
        steering = dataclasses.replace(self._bounds, traits=traits)
        if steering.steers or steering.limits:
            asked["steering"] = steering
        return self._client.stream(None, **asked)

    def _pieces(self, stream: CompletionStream, turn: Turn) -> Iterator[str]:
        for chunk in stream:
            turn.answer += chunk.text
            yield chunk.text
        self.limits_reached = stream.completion.limits_reached

    def _trait(self, argument: str) -> None:
        name, _, number = argument.partition(" ")
        scalar = as_number(number)
        if scalar is None:
            raise CommandError("give a trait and a scalar, as /trait sarcasm 2")
        known = self._known_traits()
        if name not in known:
            raise CommandError(f"unknown trait {name!r}: the traits are {', '.join(known)}")
        self.conversation.steer(name, scalar)
        self._say(describe(self.conversation.traits))

    def _traits(self, argument: str) -> None:
        for name in self._known_traits():
            scalar = self.conversation.traits.get(name)
            self._say(name if scalar is None else f"{name} {scalar:+g}")

    def _known_traits(self) -> list[str]:
        return sorted({*self._client.traits(), *self._options.get("vectors", ())})

    def _reset(self, argument: str) -> None:
        self.conversation.traits.clear()
        self._say(describe(self.conversation.traits))

    def _system(self, argument: str) -> None:
        self.conversation.system = argument
        self._say("the system turn is set" if argument else "there is no system turn")

    def _undo(self, argument: str) -> None:
        if not self.conversation.turns:
            raise CommandError("there is nothing to take back")
        self._say(f"taken back: {self.conversation.turns.pop().user}")

    def _save(self, argument: str) -> None:
        if not argument:
            raise CommandError("name a file, as /save chat.json")
        text = json.dumps(self.conversation.to_json(), ensure_ascii=False, indent=2)
        try:
            Path(argument).expanduser().write_text(text + "\n", encoding="utf-8")
        except OSError as error:
            raise CommandError(f"{argument} cannot be written: {error.strerror}") from error
        self._say(f"saved to {argument}")

    def _help(self, argument: str) -> None:
        for name, (takes, help_, _) in self._commands.items():
            self._say(f"{f'/{name} {takes}'.strip():<20} {help_}")
        self._say("anything else is said to the model; Ctrl-C stops its answer, Ctrl-D leaves")

    def _quit(self, argument: str) -> None:
        raise Leave
