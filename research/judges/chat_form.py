"""The fields that a chat completion is asked with, and what to change when an endpoint refuses one.

OpenAI's reasoning models refuse `max_tokens`, a temperature and `logprobs`; other servers know no
`logprobs`, or fewer of them. What an endpoint takes is found out by asking it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any

NUMBER_TOKENS = 16
"""Room for a number, and a label before it."""

REASONING_TOKENS = 4096
"""Room for a model that thinks first: what it thinks counts, too."""

_MAX_LOGPROBS = 20
_FEWER_LOGPROBS = 5


@dataclass(frozen=True)
class ChatForm:
    """What a request has besides its model and its messages.

    Attributes:
        limit: The field that limits a reply's tokens, as the endpoint calls it.
        tokens: The most tokens of a reply.
        greedy: Whether to ask for temperature 0, or to leave it to the model.
        logprobs: How many tokens' log probabilities to ask for at each place of the reply, 0 none.
    """

    limit: str = "max_tokens"
    tokens: int = NUMBER_TOKENS
    greedy: bool = True
    logprobs: int = _MAX_LOGPROBS

    def request(self, model: str, prompt: str) -> dict[str, Any]:
        """Returns the body of a request."""
        body: dict[str, Any] = {
            "model": model,
            "messages": [{"role": "user", "content": prompt}],
            self.limit: self.tokens,
        }
        if self.greedy:
            body["temperature"] = 0
        if self.logprobs:
            body.update(logprobs=True, top_logprobs=self.logprobs)
        return body

    def without(self, refusal: str) -> ChatForm | None:
        """Returns the form that leaves out what a refusal names; `None` if it names nothing."""

        def names(field: str) -> bool:
            return re.search(rf"(?<![a-z_]){field}(?![a-z_])", refusal, re.IGNORECASE) is not None

        if self.limit == "max_tokens" and names("max_tokens"):
            return replace(self, limit="max_completion_tokens", tokens=REASONING_TOKENS)
        if self.greedy and names("temperature"):
            return replace(self, greedy=False)
        if self.logprobs > _FEWER_LOGPROBS and names("top_logprobs"):
            return replace(self, logprobs=_FEWER_LOGPROBS)
        if self.logprobs and (names("logprobs") or names("top_logprobs")):
            return replace(self, logprobs=0)
        return None

    def with_room(self) -> ChatForm:
        """Returns the form for a model that thinks before it replies."""
        return replace(self, tokens=REASONING_TOKENS)
