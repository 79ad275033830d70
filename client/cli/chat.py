"""`persona chat`: a conversation in the terminal, or from a pipe."""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import Annotated, TextIO

import typer
from typing_extensions import Unpack

from persona_client import protocol
from persona_client.cli import exits, options, output, server_call, steering_options, vector_files
from persona_client.cli.conversation import Chat, CommandError, Conversation, Leave, describe
from persona_client.errors import PersonaError
from persona_client.rest import PersonaClient


@options.declared_together
def chat(
    steer: Annotated[
        str | None, typer.Option(help="The traits to begin with, as sarcasm=2,helpfulness=-1.")
    ] = None,
    system: options.System = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print each answer as a line of JSON.")
    ] = False,
    url: options.Url = protocol.DEFAULT_URL,
    **given: Unpack[steering_options.SteeredChatOptions],
) -> None:
    """Talk to the model, changing what steers it on the way; /help lists the commands.

    Reads lines from standard input. If that is no terminal, exits with status 1 if anything failed.
    """
    conversation = Conversation(system or "")
    for trait, scalar in steering_options.scalars(steer).items():
        conversation.steer(trait, scalar)
    vectors = vector_files.request_vectors(given["vector"], [])
    picked = options.part(options.SamplingOptions, given)
    sampling = options.sampling(**picked, vectors=vectors)
    bounds = steering_options.steering({}, [], None, given)

    def run(client: PersonaClient) -> None:
        lines = server_call.standard_input()
        failed = _loop(Chat(client, conversation, bounds, sampling, _say), lines, as_json)
        exits.fail_unless(lines.isatty() or not failed)

    server_call.call(url, run)


def _loop(chat: Chat, lines: TextIO, as_json: bool) -> bool:
    """Goes on until the person leaves; returns whether anything failed."""
    failed = False
    if lines.isatty():
        with suppress(ImportError):
            import readline  # noqa: F401  # lets input() edit lines and remember them
        _say("/help lists the commands, Ctrl-D leaves")
    while True:
        try:
            line = _read(chat, lines)
            if line.startswith("/"):
                chat.command(line)
            elif line:
                _answer(chat, line, as_json)
        except (EOFError, Leave):
            return failed
        except KeyboardInterrupt:
            # At the prompt; an answer stops by itself.
            output.write("\n")
        except (CommandError, PersonaError) as error:
            failed = True
            output.print_error(str(error))


def _read(chat: Chat, lines: TextIO) -> str:
    if not lines.isatty():
        line = lines.readline()
        if not line:
            raise EOFError
        return line.strip()
    try:
        return input(f"{describe(chat.conversation.traits)}> ").strip()
    except UnicodeDecodeError as error:
        raise CommandError(f"the line is not {error.encoding.upper()}: type it again") from error
    except EOFError:
        output.write("\n")
        raise


def _answer(chat: Chat, line: str, as_json: bool) -> None:
    stopped = False
    text = ""
    try:
        with chat.answering(line) as pieces:
            for piece in pieces:
                text += piece
                if not as_json:
                    output.write(piece)
    except KeyboardInterrupt:
        stopped = True
    finally:
        if text and not as_json:
            output.write("\n")
    if as_json:
        traits = chat.conversation.traits
        output.print_json_line({"response": text, "traits": traits, "stopped": stopped})
    elif stopped:
        _say("(stopped)")
    for reached in chat.limits_reached:
        _say(str(reached))


def _say(line: str) -> None:
    # Apart from the answers, which are what a pipe is after.
    print(output.printable(line), file=sys.stderr)
