"""One answer in OpenAI's shape: a choice of a whole completion, or of each of a stream's chunks."""

from __future__ import annotations

import codecs
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from gateway.api.openai.steering_report import parted, steering_report
from triton_models.grpc_messages import TritonChunk

_FINISH_REASONS = {"trait_limit": "content_filter"}
"""What OpenAI calls why an answer ended, where the name is another."""


class ChoiceFormat(ABC):
    """One of a completion's answers.

    Attributes:
        index: Which one.
        logprobs: Whether to say how likely each token was.
    """

    _no_content: ClassVar[Mapping[str, Any]]

    def __init__(self, index: int, logprobs: bool) -> None:
        self.index = index
        self.logprobs = logprobs

    @abstractmethod
    def whole(self, answer: TritonChunk) -> dict[str, Any]:
        """Returns the choice for a whole answer."""

    @abstractmethod
    def pieces(self, chunk: TritonChunk) -> list[dict[str, Any]]:
        """Returns the choices of the next chunks, for the next piece of a streamed answer."""

    def ending_alone(self, pieces: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Returns choices of which one that says why the answer ended has nothing of it.

        Clients that stop reading at the reason must not lose the last words.
        """
        if not pieces or pieces[-1]["finish_reason"] is None:
            return pieces
        last = pieces[-1]
        # What the prompt was like is said before.
        end = {name: value for name, value in last.items() if name != "prompt_logprobs"}
        end |= self._no_content
        if end == last:
            return pieces
        of_tokens, of_answer = parted(last)
        last, end = (
            {name: value for name, value in each.items() if name != "steering"}
            for each in (last, end)
        )
        return [
            *pieces[:-1],
            {**last, "finish_reason": None, **of_tokens},
            {**end, "logprobs": None, **of_answer},
        ]

    def _around(
        self, content: Mapping[str, Any], logprobs: Any, chunk: TritonChunk
    ) -> dict[str, Any]:
        return {
            "index": self.index,
            **content,
            "logprobs": logprobs if self.logprobs else None,
            "finish_reason": _FINISH_REASONS.get(chunk.finish_reason, chunk.finish_reason) or None,
            **steering_report(chunk),
        }


class ChatChoice(ChoiceFormat):
    """An answer to a chat."""

    _no_content: ClassVar[Mapping[str, Any]] = {"delta": {}}
    _begun = False

    def whole(self, answer: TritonChunk) -> dict[str, Any]:
        """Returns the choice for a whole answer."""
        message = {"role": "assistant", "content": answer.text, "refusal": None}
        return self._around({"message": message}, self._likelihoods(answer), answer)

    def pieces(self, chunk: TritonChunk) -> list[dict[str, Any]]:
        """Returns the choice for the next piece; the first one says whose turn it is."""
        delta = {} if self._begun else {"role": "assistant"}
        self._begun = True
        if chunk.text or delta:
            delta["content"] = chunk.text
        return [self._around({"delta": delta}, self._likelihoods(chunk), chunk)]

    def _likelihoods(self, chunk: TritonChunk) -> dict[str, Any]:
        # The model server speaks OpenAI's dialect.
        return {"content": list(chunk.logprobs), "refusal": None}


class TextChoice(ChoiceFormat):
    """A continuation of a prompt.

    Args:
        index: Which one of a completion's answers.
        logprobs: Whether to say how likely each token was.
        echoes: Whether the prompt's tokens are among those, since the text begins with it.
        scores_prompt: Whether to say how likely the prompt's tokens were in vLLM's form.
    """

    _no_content: ClassVar[Mapping[str, Any]] = {"text": ""}

    def __init__(
        self, index: int, logprobs: bool, *, echoes: bool = False, scores_prompt: bool = False
    ) -> None:
        super().__init__(index, logprobs)
        self._echoes = echoes
        self._scores_prompt = scores_prompt
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._offset = 0

    def whole(self, answer: TritonChunk) -> dict[str, Any]:
        """Returns the choice for a whole answer."""
        content: dict[str, Any] = {"text": answer.text}
        if self._scores_prompt and answer.prompt_logprobs:
            content["prompt_logprobs"] = by_token_ids(answer.prompt_logprobs)
        return self._around(content, self._likelihoods(answer), answer)

    def pieces(self, chunk: TritonChunk) -> list[dict[str, Any]]:
        """Returns the choice for the next piece."""
        return [self.whole(chunk)]

    def _likelihoods(self, chunk: TritonChunk) -> dict[str, Any]:
        likely: Sequence[Any] = chunk.logprobs
        if self._echoes:
            likely = (*chunk.prompt_logprobs, *likely)
        offsets = []
        for each in likely:
            offsets.append(self._offset)
            self._offset += len(self._decoder.decode(bytes(each["bytes"])))
        return {
            "tokens": [_token_text(each) for each in likely],
            "token_logprobs": [each["logprob"] for each in likely],
            "top_logprobs": [
                # A token that was chosen against the odds is one more.
                None
                if each["logprob"] is None  # nothing precedes the prompt's first token
                else {_token_text(one): one["logprob"] for one in (*each["top_logprobs"], each)}
                for each in likely
            ],
            "text_offset": offsets,
        }


def by_token_ids(scores: Sequence[Mapping[str, Any]]) -> list[dict[str, Any] | None]:
    """Returns how likely each token of a prompt was, and the likeliest, as vLLM says it."""
    return [_by_token_id(token) for token in scores]


def _by_token_id(token: Mapping[str, Any]) -> dict[str, Any] | None:
    if token["logprob"] is None:
        return None
    ranked = [*enumerate(token["top_logprobs"], start=1), (token["rank"], token)]
    return {
        str(each["id"]): {
            "logprob": each["logprob"],
            "rank": rank,
            "decoded_token": _token_text(each),
        }
        for rank, each in ranked
    }


def _token_text(token: Mapping[str, Any]) -> str:
    """Returns a token's text, or its bytes in OpenAI's notation if they are no text alone."""
    data = bytes(token["bytes"])
    try:
        data.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in data)
    return str(token["token"])
