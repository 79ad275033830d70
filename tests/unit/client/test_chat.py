"""A chat's commands change what steers the next answer; nothing said is lost or doubled."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import pytest
from typer.testing import CliRunner

from persona_client.cli.app import app
from persona_client.cli.conversation import Chat, CommandError, Conversation, Leave, describe
from persona_client.errors import PersonaError, UnavailableError
from persona_client.results import Chunk, Completion
from persona_client.steering import Steering


class Script:
    """Stands in for the stream of an answer."""

    def __init__(self, events: list[Any]) -> None:
        self.events = events
        self.closed = False
        self.completion = Completion(response="", trait=None, scalar=0.0, tokens_generated=0)

    def __enter__(self) -> Script:
        return self

    def __exit__(self, *error: object) -> None:
        self.closed = True

    def __iter__(self) -> Iterator[Any]:
        for event in self.events:
            if isinstance(event, BaseException):
                raise event
            yield event


class Client:
    """Stands in for the client; notes what it is asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[Mapping[str, float], list[dict[str, str]]]] = []
        self.steerings: list[Steering | None] = []
        self.events: list[Any] = [Chunk("Hel", 1), Chunk("lo", 2)]
        self.last = Script([])

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def traits(self) -> dict[str, None]:
        return {"sarcasm": None, "flattery": None}

    def stream(self, prompt: None, *, steering: Steering | None = None, **options: Any) -> Script:
        self.steerings.append(steering)
        return self._answer(steering.traits if steering else {}, options)

    def _answer(self, traits: Mapping[str, Any], options: dict[str, Any]) -> Script:
        self.asked.append((dict(traits), options["messages"]))
        self.last = Script(self.events)
        return self.last


@pytest.fixture
def client() -> Client:
    return Client()


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def chat(client: Client, said: list[str]) -> Chat:
    return Chat(cast(Any, client), Conversation(), Steering({}), {"temperature": 0.0}, said.append)


def answer(chat: Chat, text: str) -> str:
    with chat.answering(text) as pieces:
        return "".join(pieces)


def test_the_conversation_goes_along_with_each_request(chat: Chat, client: Client) -> None:
    assert answer(chat, "hi") == "Hello"
    answer(chat, "and now?")
    assert client.asked[-1] == (
        {},
        [
            {"role": "user", "content": "hi"},
            {"role": "assistant", "content": "Hello"},
            {"role": "user", "content": "and now?"},
        ],
    )


def test_steering_changes_in_mid_conversation(chat: Chat, client: Client, said: list[str]) -> None:
    chat.command("/trait sarcasm 2")
    chat.command("/trait flattery -0.5")
    answer(chat, "a")
    chat.command("/trait sarcasm 0")
    answer(chat, "b")
    chat.command("/reset")
    answer(chat, "c")
    assert [traits for traits, _ in client.asked] == [
        {"sarcasm": 2.0, "flattery": -0.5},
        {"flattery": -0.5},
        {},
    ]
    assert said == [
        "sarcasm +2",
        "sarcasm +2, flattery -0.5",
        "flattery -0.5",
        "baseline",
    ]


def test_traits_are_listed_with_how_far_they_are_turned(chat: Chat, said: list[str]) -> None:
    chat.command("/trait sarcasm 2")
    said.clear()
    chat.command("/traits")
    assert said == ["flattery", "sarcasm +2"]


def test_the_system_turn_comes_first_and_can_be_removed(chat: Chat, client: Client) -> None:
    chat.command("/system Be brief.")
    answer(chat, "hi")
    assert client.asked[-1][1][0] == {"role": "system", "content": "Be brief."}
    chat.command("/system")
    answer(chat, "hi")
    assert client.asked[-1][1][0]["role"] == "user"


def test_undo_takes_a_turn_and_its_answer_back(chat: Chat, client: Client) -> None:
    answer(chat, "a")
    answer(chat, "b")
    chat.command("/undo")
    answer(chat, "c")
    assert [each["content"] for each in client.asked[-1][1]] == ["a", "Hello", "c"]
    chat.command("/undo")
    chat.command("/undo")
    with pytest.raises(CommandError, match="nothing to take back"):
        chat.command("/undo")


def test_a_saved_conversation_says_what_steered_each_answer(chat: Chat, tmp_path: Path) -> None:
    answer(chat, "a")
    chat.command("/trait sarcasm 2")
    answer(chat, "日本?")
    path = tmp_path / "a chat.json"
    chat.command(f"/save {path}")
    assert json.loads(path.read_text(encoding="utf-8")) == {
        "system": "",
        "traits": {"sarcasm": 2.0},
        "turns": [
            {"user": "a", "traits": {}, "answer": "Hello"},
            {"user": "日本?", "traits": {"sarcasm": 2.0}, "answer": "Hello"},
        ],
    }


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("/trait", "as /trait sarcasm 2"),
        ("/trait sarcasm", "as /trait sarcasm 2"),
        ("/trait sarcasm much", "as /trait sarcasm 2"),
        ("/trait sarcasm nan", "as /trait sarcasm 2"),
        ("/trait rudeness 1", "the traits are flattery, sarcasm"),
        ("/undo twice", "takes nothing"),
        ("/save", "name a file"),
        ("/save /nowhere/at/all.json", "cannot be written"),
        ("/sing", "the commands are /trait, /traits"),
    ],
)
def test_a_command_that_cannot_be_followed_says_what_would_be_right(
    chat: Chat, line: str, says: str
) -> None:
    with pytest.raises(CommandError, match=says):
        chat.command(line)
    assert chat.conversation == Conversation()


def test_help_names_every_command_and_quit_leaves(chat: Chat, said: list[str]) -> None:
    chat.command("/help")
    for name in ("trait", "traits", "reset", "system", "undo", "save", "help", "quit"):
        assert any(line.startswith(f"/{name}") for line in said)
    with pytest.raises(Leave):
        chat.command("/quit")


def test_what_came_of_a_stopped_answer_stays_and_its_stream_is_closed(
    chat: Chat, client: Client
) -> None:
    client.events = [Chunk("Hel", 1), KeyboardInterrupt()]
    with pytest.raises(KeyboardInterrupt):
        answer(chat, "hi")
    assert client.last.closed
    assert [turn.answer for turn in chat.conversation.turns] == ["Hel"]


@pytest.mark.parametrize("failure", [KeyboardInterrupt(), UnavailableError("starting")])
def test_nothing_stays_of_a_turn_without_any_answer(
    chat: Chat, client: Client, failure: BaseException
) -> None:
    client.events = [failure]
    with pytest.raises(type(failure)):
        answer(chat, "hi")
    assert chat.conversation.turns == []


def test_no_steering_is_called_the_baseline() -> None:
    assert describe({}) == "baseline"


@pytest.fixture
def piped(client: Client, monkeypatch: pytest.MonkeyPatch) -> Client:
    monkeypatch.setattr("persona_client.cli.server_call.PersonaClient", lambda url: client)
    return client


def persona(*arguments: str, lines: str) -> Any:
    return CliRunner().invoke(app, ["chat", *arguments], input=lines)


def test_a_piped_chat_prints_answers_and_nothing_else(piped: Client) -> None:
    result = persona("--steer", "sarcasm=2", lines="hi\n/reset\n\nbye\n")
    assert (result.exit_code, result.stdout) == (0, "Hello\nHello\n")
    assert [traits for traits, _ in piped.asked] == [{"sarcasm": 2.0}, {}]


def test_a_piped_chat_goes_on_after_an_error_and_tells_of_it_in_the_end(piped: Client) -> None:
    result = persona(lines="/trait rudeness 1\nhi\n/quit\nnever said\n")
    assert (result.exit_code, result.stdout) == (1, "Hello\n")
    assert result.stderr.count("error: ") == 1
    assert len(piped.asked) == 1


def test_ctrl_c_stops_the_answer_and_not_the_program(piped: Client) -> None:
    piped.events = [Chunk("Hel", 1), KeyboardInterrupt()]
    result = persona(lines="hi\nhi\n")
    assert (result.exit_code, result.stdout) == (0, "Hel\nHel\n")
    assert result.stderr.count("(stopped)") == 2


def test_answers_can_be_lines_of_json(piped: Client) -> None:
    piped.events = [Chunk("Hi", 1)]
    result = persona("--json", lines="/trait sarcasm 1\nhi\n")
    assert [json.loads(line) for line in result.stdout.splitlines()] == [
        {"response": "Hi", "traits": {"sarcasm": 1.0}, "stopped": False}
    ]


def test_a_server_that_is_down_is_an_error_of_each_turn(piped: Client) -> None:
    piped.events = [PersonaError("cannot reach the server")]
    result = persona(lines="hi\n")
    assert result.exit_code == 1
    assert result.stderr == "error: cannot reach the server\n"
