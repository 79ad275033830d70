"""What an answer says about its steering, which clients of OpenAI's API let pass."""

from __future__ import annotations

from typing import Any

from gateway.api.response_bodies import IN_PIECES
from triton_models.grpc_messages import TritonChunk


def steering_report(answer: TritonChunk) -> dict[str, Any]:
    """Returns the field `steering` of an answer or of a piece of it; empty is to be left out."""
    return named({**read_in_pieces(answer), **_said_at_the_end(answer)})


def end_report(answer: TritonChunk) -> dict[str, Any]:
    """Returns the same of an answer whose pieces have said their part."""
    return named(_said_at_the_end(answer))


def read_in_pieces(chunk: TritonChunk) -> dict[str, Any]:
    """Returns what was read at a piece's tokens, and in the prompt's turns."""
    return {name: said for name in sorted(IN_PIECES) if (said := getattr(chunk, name))}


def named(said: dict[str, Any]) -> dict[str, Any]:
    """Returns the field `steering` that says something, if there is anything to say."""
    return {"steering": said} if said else {}


def parted(choice: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns the field of a last piece in two: what belongs to its tokens, and to the answer."""
    said = choice.get("steering", {})
    of_tokens = {name: value for name, value in said.items() if name in IN_PIECES}
    rest = {name: value for name, value in said.items() if name not in IN_PIECES}
    return named(of_tokens), named(rest)


def _said_at_the_end(answer: TritonChunk) -> dict[str, Any]:
    said: dict[str, Any] = {}
    if answer.readouts is not None:
        said["readouts"] = answer.readouts
    if answer.calibrated_readouts is not None:
        said["calibrated_readouts"] = answer.calibrated_readouts
    if answer.condition is not None:
        said["condition"] = answer.condition
    if answer.limits_reached:
        said["limits_reached"] = list(answer.limits_reached)
    if answer.enforced is not None:
        said["enforced"] = answer.enforced
    if answer.warnings:
        said["warnings"] = list(answer.warnings)
    return said
