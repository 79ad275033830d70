"""Log-probabilities as JSON in the form of OpenAI's API."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from triton_models.text.token_bytes import TokenBytes

MIN_LOGPROB = -9999.0
"""Stands for the logarithm of zero, which JSON cannot represent."""


def logprobs_json(
    token_bytes: TokenBytes,
    token_ids: Sequence[int],
    logprobs: Sequence[float],
    top_ids: Sequence[int],
    top_logprobs: Sequence[float],
) -> str:
    """Returns a JSON array with an object for each token, or `""` if there are no logprobs.

    A token that is part of a character has U+FFFD in its `token`; its `bytes` are exact, and those
    of all tokens together are the text. A special token has its name and no bytes, because it is
    not part of the text. The most likely tokens are the same number for each token, one after the
    other.
    """
    if not logprobs:
        return ""
    count = len(top_ids) // len(token_ids)
    return json.dumps(
        [
            {
                **_token(token_bytes, token_id, logprob),
                "top_logprobs": [
                    _token(token_bytes, top_ids[place], top_logprobs[place])
                    for place in range(index * count, (index + 1) * count)
                ],
            }
            for index, (token_id, logprob) in enumerate(zip(token_ids, logprobs, strict=True))
        ],
        ensure_ascii=False,
    )


def prompt_logprobs_json(token_bytes: TokenBytes, scores: str) -> str:
    """Returns a JSON array with an object for each token of a prompt, or `""` if there are none.

    Args:
        token_bytes: The bytes of each token.
        scores: What `prompt_scores` says, in `triton_models.contract.tensors`.

    Here a special token has the bytes of its name: it is part of the text that the prompt is echoed
    as. See `PROMPT_LOGPROBS` in `triton_models.contract.tensors` for the form.
    """
    if not scores:
        return ""
    return json.dumps(
        [
            {
                **_prompt_token(token_bytes, token_id, logprob),
                "rank": rank or None,
                "top_logprobs": [_prompt_token(token_bytes, *each) for each in top],
            }
            for token_id, logprob, rank, top in json.loads(scores)
        ],
        ensure_ascii=False,
    )


def _prompt_token(token_bytes: TokenBytes, token_id: int, logprob: float | None) -> dict[str, Any]:
    data = token_bytes.join_with_special((token_id,))
    return {
        "id": token_id,
        "token": data.decode("utf-8", "replace"),
        "bytes": list(data),
        "logprob": None if logprob is None else _rounded(logprob),
    }


def _token(token_bytes: TokenBytes, token_id: int, logprob: float) -> dict[str, Any]:
    return {
        "token": token_bytes.join_with_special((token_id,)).decode("utf-8", "replace"),
        "bytes": list(token_bytes[token_id]),
        "logprob": _rounded(logprob),
    }


def _rounded(logprob: float) -> float:
    """Returns a log-probability without digits that float32 does not have.

    Adding 0.0 turns a negative zero into a positive one.
    """
    return round(max(logprob, MIN_LOGPROB), 6) + 0.0
