"""What happened to a request and to the generations that it asked for."""

from __future__ import annotations

import time
from collections.abc import Mapping, MutableMapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Literal

from gateway.caller import Caller
from gateway.errors import CLIENT_CLOSED, GatewayError
from triton_models.contract.steering import Operation

Outcome = Literal["ok", "client_error", "overloaded", "failed", "cancelled"]

_UNMATCHED = "unmatched"
"""The route of unknown addresses, which clients can make up without bound."""

_NAMELESS = "other"
"""The route of addresses that belong to no API call, such as `/docs`."""


@dataclass(eq=False, slots=True)
class RequestRecord:
    """A request on its way through the gateway.

    Attributes:
        id: The client's name for it, or ours.
        log_fields: What handlers add to its log line.
        started: When it came, by the monotonic clock.
        started_ns: When it came, by the wall clock.
        status: The HTTP status of its answer; 0 until there is one.
        disconnected: Whether the client went away before the answer was complete.
        broken: Whether the answer was cut off by a defect.
        seconds: How long it took, once it has ended.
    """

    id: str
    scope: MutableMapping[str, Any]
    caller: Caller | None = None
    log_fields: dict[str, Any] = field(default_factory=dict)
    started: float = field(default_factory=time.monotonic)
    started_ns: int = field(default_factory=time.time_ns)
    status: int = 0
    disconnected: bool = False
    broken: bool = False
    generations: list[GenerationRecord] = field(default_factory=list)
    seconds: float = 0.0
    span: Any = None
    trace_id: str = ""

    @property
    def method(self) -> str:
        """The HTTP method."""
        return str(self.scope["method"])

    @property
    def path(self) -> str:
        """The address that was asked for."""
        return str(self.scope["path"])

    @property
    def route(self) -> str:
        """The template of its address: one of as many as the application has routes."""
        path = getattr(self.scope.get("route"), "path", None)
        if path is not None:
            # Without the name of what converts the part to a value.
            return str(path).replace(":path}", "}")
        return _NAMELESS if "endpoint" in self.scope else _UNMATCHED

    @property
    def outcome(self) -> Outcome:
        """How it ended, for whoever counts: an answer that broke off was no success."""
        if self.disconnected or self.status == CLIENT_CLOSED:
            return "cancelled"
        if self.broken or not self.status:
            return "failed"
        if self.status >= 400:
            return outcome_of_status(self.status)
        ends = {generation.outcome for generation in self.generations}
        if "overloaded" in ends:
            return "overloaded"
        # Nobody but us can have given up a generation whose client is still there.
        return "failed" if ends & {"failed", "cancelled"} else "ok"


@dataclass(eq=False, slots=True)
class GenerationRecord:
    """A generation in Triton.

    Attributes:
        streamed: Whether its tokens come one after the other, or all with the end.
        steering: The scalar of each trait that is added.
        operations: What bounds traits.
        vectors: The digest of each vector that it brings along.
        parameters: What it asks for besides its text.
        texts: Its text, for observers that want it.
        answer: What has come of the answer's, for the same.
        prompt_charged: Whether its tokens have been taken from its caller's budget.
        started: When it was sent, by the monotonic clock.
        started_ns: When it was sent, by the wall clock.
        first_token: When the first token came, by the monotonic clock.
        newest_token: When the newest token came, by the monotonic clock.
        ended_ns: When its last response came, or it was given up, by the wall clock.
        finish_reason: Why it ended, if the model server said.
        limits_reached: Which limits it reached, if the model server said.
        phases: How many seconds the engine had it in each phase, if it said.
        given_up: Whether nobody wanted its end any more.
    """

    triton_id: str
    request: RequestRecord | None = None
    streamed: bool = False
    steering: Mapping[str, float] = field(default_factory=dict)
    operations: Sequence[Operation] = ()
    vectors: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, Any] = field(default_factory=dict)
    texts: Mapping[str, Any] = field(default_factory=dict)
    answer: str = ""
    prompt_chars: int = 0
    prompt_charged: bool = False
    started: float = 0.0
    started_ns: int = 0
    first_token: float | None = None
    newest_token: float | None = None
    ended_ns: int = 0
    prompt_tokens: int = 0
    reused_tokens: int = 0
    tokens: int = 0
    finish_reason: str = ""
    limits_reached: Sequence[Mapping[str, Any]] = ()
    phases: Mapping[str, float] = field(default_factory=dict)
    error: GatewayError | None = None
    given_up: bool = False
    span: Any = None

    @property
    def operation_names(self) -> list[str]:
        """What bounds which trait, in words."""
        return [f"{each.kind} {each.trait}" for each in self.operations]

    @property
    def first_token_seconds(self) -> float | None:
        """How long the first token took, if that can be seen: only streams show it."""
        if self.first_token is None or not self.streamed:
            return None
        return self.first_token - self.started

    @property
    def outcome(self) -> Outcome:
        """How it ended."""
        if self.error is not None:
            return outcome_of_status(self.error.status)
        return "cancelled" if self.given_up else "ok"


def outcome_of_status(status: int) -> Outcome:
    """Returns what an HTTP status says about how a request ended."""
    if status < 400:
        return "ok"
    if status == 429:
        return "overloaded"
    return "client_error" if status < 500 else "failed"


class Observer:
    """Is told what happens; what it does must neither raise nor wait.

    Attributes:
        wants_text: Whether records must have prompts and answers, which they otherwise have not.
    """

    wants_text = False

    def request_began(self, request: RequestRecord) -> None:
        """A request has come."""

    def request_ended(self, request: RequestRecord) -> None:
        """A request has been answered, or cannot be any more."""

    def generation_began(self, generation: GenerationRecord) -> None:
        """A generation has been sent to Triton."""

    def tokens_came(self, generation: GenerationRecord, count: int, seconds: float) -> None:
        """`count` new tokens have come, which the record does not have yet.

        They came `seconds` after the ones before them, or after the start.
        """

    def tokens_came_late(self, generation: GenerationRecord, prompt: int, count: int) -> None:
        """A generation that had been given up had `count` more tokens than its record has."""

    def generation_ended(self, generation: GenerationRecord) -> None:
        """A generation has ended, failed, or is not wanted any more."""


current_request: ContextVar[RequestRecord | None] = ContextVar("current_request", default=None)
"""The request that the running code works for: how a generation finds who asked for it."""
