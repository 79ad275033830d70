"""What calls return."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Chunk:
    """A piece of an answer that is being streamed.

    Attributes:
        text: The new text.
        tokens_generated: How many tokens the answer has so far.
    """

    text: str
    tokens_generated: int


@dataclass(frozen=True)
class Completion:
    """A whole answer.

    Attributes:
        response: The text.
        trait: The trait it was steered by, or `None`.
        scalar: How strongly.
        tokens_generated: How many tokens it has.
        finish_reason: `stop` at a natural end, `length` at the most tokens allowed.
        prompt_tokens: How many tokens the prompt had.
    """

    response: str
    trait: str | None
    scalar: float
    tokens_generated: int
    finish_reason: str
    prompt_tokens: int

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Completion:
        """Reads the body of a successful answer."""
        return cls(
            response=body["response"],
            trait=body["trait"],
            scalar=body["scalar"],
            tokens_generated=body["tokens_generated"],
            finish_reason=body.get("finish_reason", ""),
            prompt_tokens=body.get("prompt_tokens", 0),
        )


@dataclass(frozen=True)
class Trait:
    """A trait that requests can name.

    Attributes:
        name: Its name.
        model_name: The model whose activations its vector was taken from.
        layers: The decoder blocks that its vector has a direction for.
        layer_count: How many those are.
        metadata: What its maker noted.
        warnings: What to know before trusting it.
        selected_layers: The blocks that it steers unless the request says otherwise.
    """

    name: str
    model_name: str
    layers: tuple[int, ...]
    layer_count: int
    metadata: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    selected_layers: tuple[int, ...] = ()

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Trait:
        """Reads one trait of the server's answer."""
        return cls(
            name=body["trait_name"],
            model_name=body["model_name"],
            layers=tuple(body["layers"]),
            layer_count=body["layer_count"],
            metadata=body["metadata"],
            warnings=tuple(body.get("warnings", ())),
            selected_layers=tuple(body.get("selected_layers", ())),
        )


@dataclass(frozen=True)
class Status:
    """What a server serves, and whether it can be used now.

    Attributes:
        ready: Whether it generates.
        model: The model's name.
        device: Where it runs.
        available_traits: The names of its traits.
        model_info: Its dimensions.
        engine: How busy it is.
        problems: Vector files that it could not use, each with its `source` and `reason`.
        error: Why it is not ready.
    """

    ready: bool
    model: str
    device: str
    available_traits: tuple[str, ...]
    model_info: Mapping[str, Any] = field(default_factory=dict)
    engine: Mapping[str, Any] = field(default_factory=dict)
    problems: tuple[Mapping[str, Any], ...] = ()
    error: str | None = None

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Status:
        """Reads the server's answer."""
        return cls(
            ready=body["status"] == "ready",
            model=body["model"],
            device=body["device"],
            available_traits=tuple(body["available_traits"]),
            model_info=body["model_info"],
            engine=body.get("engine", {}),
            problems=tuple(body.get("problems", ())),
            error=body.get("error"),
        )
