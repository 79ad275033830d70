"""A completion: the answers to one request, as one body or as a stream of chunks."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncGenerator, Callable, Collection, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from gateway.api.merge_streams import merged
from gateway.api.openai.calling_choice import CallingChoice
from gateway.api.openai.choice_formats import ChatChoice, ChoiceFormat, TextChoice, by_token_ids
from gateway.errors import GatewayError
from gateway.generation.generation import Generation
from gateway.http.openai_errors import error_body
from gateway.http.server_sent_events import format_data
from triton_models.grpc_messages import TritonChunk

_DONE = b"data: [DONE]\n\n"


@dataclass(frozen=True, slots=True)
class CompletionKind:
    """What distinguishes the two kinds of completion.

    Attributes:
        id_prefix: How ids begin.
        whole: What OpenAI calls a whole completion.
        chunk: What it calls a streamed one's chunk.
        choice: Makes the shape of an answer of its index, and whether to say how likely each token
            was.
        has_one_prompt: Whether all answers have the same prompt, so that how likely its tokens were
            is said once and not by each choice.
    """

    id_prefix: str
    whole: str
    chunk: str
    choice: Callable[[int, bool], ChoiceFormat]
    has_one_prompt: bool


CHAT = CompletionKind("chatcmpl-", "chat.completion", "chat.completion.chunk", ChatChoice, True)
TEXT = CompletionKind("cmpl-", "text_completion", "text_completion", TextChoice, False)


def text_completion(*, echoes: bool, scores_prompt: bool) -> CompletionKind:
    """Returns the kind of a completion that says how likely its prompt's tokens were.

    Args:
        echoes: As `TextChoice` takes it.
        scores_prompt: Likewise.
    """
    choice = partial(TextChoice, echoes=echoes, scores_prompt=scores_prompt)
    return replace(TEXT, choice=choice)


def calling_chat(names: Collection[str]) -> CompletionKind:
    """Returns the kind of a chat whose answers can call functions.

    Args:
        names: The functions.
    """
    return replace(CHAT, choice=partial(CallingChoice, names))


async def _pieces_of(
    choice: ChoiceFormat, generation: Generation
) -> AsyncGenerator[tuple[ChoiceFormat, TritonChunk], None]:
    async with generation:
        async for chunk in generation:
            yield choice, chunk


class CompletionAnswer:
    """The answers to one request, which stand in one batch: all of them, or none.

    Args:
        kind: Which kind of completion it is.
        model: The model's name, as the request has it.
        generations: The answers, prepared and not yet begun, those to one prompt side by side.
        per_prompt: How many answers each prompt has.
        logprobs: Whether to say how likely each token was.
        include_usage: Whether a stream says how many tokens there were.
        continuous_usage: Whether, with that, each of its chunks says how many there were so far.
        log_fields: What the request's log line will say.
    """

    def __init__(
        self,
        kind: CompletionKind,
        model: str,
        generations: Sequence[Generation],
        *,
        per_prompt: int,
        logprobs: bool,
        include_usage: bool,
        continuous_usage: bool = False,
        log_fields: dict[str, Any],
    ) -> None:
        self._kind = kind
        self._generations = generations
        self._choices = [kind.choice(index, logprobs) for index in range(len(generations))]
        self._per_prompt = per_prompt
        self._include_usage = include_usage
        self._continuous_usage = include_usage and continuous_usage
        self._log_fields = log_fields
        self._head = {
            "id": kind.id_prefix + uuid.uuid4().hex,
            "created": int(time.time()),
            "model": model,
        }
        log_fields["completion"] = self._head["id"]

    async def complete(self) -> dict[str, Any]:
        """Returns the whole completion.

        Raises:
            GatewayError: One of the answers failed.
        """
        async with aclosing(self._pieces()) as pieces:
            async for _ in pieces:
                pass
        choices = [
            choice.whole(generation.answer)
            for choice, generation in zip(self._choices, self._generations, strict=True)
        ]
        whole = {
            **self._head,
            "object": self._kind.whole,
            "choices": choices,
            "usage": self._usage(),
        }
        scores = self._generations[0].answer.prompt_logprobs
        if scores and self._kind.has_one_prompt:
            whole["prompt_logprobs"] = by_token_ids(scores)
        return whole

    async def events(self) -> AsyncGenerator[bytes, None]:
        """Yields the events: chunks, then `[DONE]`.

        Raises:
            GatewayError: One of the answers failed.
        """
        num_begun = 0
        async with aclosing(self._pieces()) as pieces:
            async for choice, chunk in pieces:
                if chunk.says_something or chunk.finish_reason:
                    # OpenAI's own client wants choices to begin in their order.
                    earlier = self._choices[num_begun : choice.index]
                    begun = [piece for each in earlier for piece in each.pieces(TritonChunk())]
                    for piece in begun + choice.ending_alone(choice.pieces(chunk)):
                        usage = self._usage() if self._continuous_usage else None
                        yield self._event([piece], usage)
                    num_begun = max(num_begun, choice.index + 1)
        if self._include_usage:
            yield self._event([], self._usage())
        yield _DONE

    def error_event(self, error: GatewayError) -> bytes:
        """Returns the event that ends a stream which has begun and cannot be completed."""
        self._log_fields.update(code=error.code, reason=error.detail or error.message)
        return format_data(error_body(error.status, error.code, error.message))

    def _event(self, choices: list[dict[str, Any]], usage: dict[str, Any] | None) -> bytes:
        data = {**self._head, "object": self._kind.chunk, "choices": choices}
        return format_data({**data, "usage": usage} if self._include_usage else data)

    def _pieces(self) -> AsyncGenerator[tuple[ChoiceFormat, TritonChunk], None]:
        return merged(list(map(_pieces_of, self._choices, self._generations)))

    def _usage(self) -> dict[str, Any]:
        # One prompt counts once, however many answers it has.
        answers = [generation.answer for generation in self._generations]
        prompts = answers[:: self._per_prompt]
        prompt_tokens = sum(prompt.num_input_tokens for prompt in prompts)
        completion_tokens = sum(answer.num_output_tokens for answer in answers)
        return {
            "prompt_tokens": prompt_tokens,
            "completion_tokens": completion_tokens,
            "total_tokens": prompt_tokens + completion_tokens,
            "prompt_tokens_details": {
                "cached_tokens": sum(prompt.num_reused_tokens for prompt in prompts)
            },
        }
