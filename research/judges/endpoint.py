"""A judge behind an OpenAI-compatible endpoint: OpenAI's own, vLLM, llama.cpp, ollama, ..."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx

from persona_research.definitions import TraitDefinition
from persona_research.judges.judge import JudgeError
from persona_research.judges.rubric import judge_prompt, parse_score
from persona_research.progress import digest

KEY_VARIABLE = "OPENAI_API_KEY"
"""The environment variable that holds the key; an endpoint of one's own may need none."""

URL_VARIABLE = "OPENAI_BASE_URL"

DEFAULT_URL = "https://api.openai.com/v1"

_RETRIED = frozenset((408, 409, 429, 500, 502, 503, 504))
_MAX_WAIT_SECONDS = 60.0
_REPLY_TOKENS = 16


class OpenAIJudge:
    """Asks an endpoint's chat completions for a number.

    Args:
        model: The endpoint's name for the model.
        base_url: The endpoint's address, up to and with `/v1`.
        api_key: Sent as the bearer's token, if there is one.
        concurrency: The most requests at a time.
        attempts: How often to try a request that fails for a reason that may pass.
        first_wait: Seconds before the second try; each wait is twice the one before.
        timeout: Seconds for one try.
    """

    def __init__(
        self,
        model: str,
        *,
        base_url: str = DEFAULT_URL,
        api_key: str = "",
        concurrency: int = 8,
        attempts: int = 6,
        first_wait: float = 1.0,
        timeout: float = 60.0,
    ) -> None:
        self._model = model
        self._url = base_url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._concurrency = concurrency
        self._attempts = attempts
        self._first_wait = first_wait
        self._timeout = timeout

    @property
    def name(self) -> str:
        """`openai` and which model."""
        return f"openai {self._model}"

    @property
    def identity(self) -> str:
        """The endpoint's address and the model."""
        return digest("openai", self._url, self._model, _REPLY_TOKENS)

    def scores(
        self, trait: TraitDefinition, questions: Sequence[str], answers: Sequence[str]
    ) -> list[float | None]:
        """Scores answers; see `Judge`. A refusal, or a reply that is not a number, is no score.

        Raises:
            JudgeError: The endpoint cannot be reached, or refuses the request.
        """
        prompts = [
            judge_prompt(trait, question, answer)
            for question, answer in zip(questions, answers, strict=True)
        ]
        pool = ThreadPoolExecutor(self._concurrency, thread_name_prefix="judge")
        with httpx.Client(headers=self._headers, timeout=self._timeout) as client:
            try:
                replies = list(pool.map(lambda prompt: self._ask(client, prompt), prompts))
            finally:
                pool.shutdown(cancel_futures=True)
        return [parse_score(reply) for reply in replies]

    def _ask(self, client: httpx.Client, prompt: str) -> str:
        """Returns the model's reply to a prompt, "" if it has none."""
        reason, asked = "", 0.0
        for attempt in range(self._attempts):
            if attempt:
                time.sleep(self._wait(attempt, asked))
            asked = 0.0
            try:
                response = client.post(f"{self._url}/chat/completions", json=self._request(prompt))
            except (httpx.TransportError, httpx.InvalidURL) as error:
                reason = f"cannot be reached: {error}"
                continue
            if response.status_code == httpx.codes.OK:
                return _reply(response)
            reason = f"answers with status {response.status_code}: {_message(response)}"
            if response.status_code not in _RETRIED:
                break
            asked = _asked_wait(response.headers)
        raise JudgeError(f"the judge at {self._url} {reason}")

    def _wait(self, attempt: int, asked: float) -> float:
        """Seconds to wait; spread, so that concurrent requests do not all come back at once."""
        backoff = self._first_wait * 2.0 ** (attempt - 1) * random.uniform(0.75, 1.25)
        return min(max(backoff, asked), _MAX_WAIT_SECONDS)

    def _request(self, prompt: str) -> dict[str, Any]:
        return {
            "model": self._model,
            "messages": [{"role": "user", "content": prompt}],
            "temperature": 0,
            "max_tokens": _REPLY_TOKENS,
        }


def _reply(response: httpx.Response) -> str:
    try:
        content = response.json()["choices"][0]["message"]["content"]
    except (ValueError, LookupError, TypeError) as error:
        raise JudgeError("the judge's answer is not a chat completion") from error
    return content if isinstance(content, str) else ""


def _message(response: httpx.Response) -> str:
    """What an error response says, on one line."""
    try:
        text = str(response.json()["error"]["message"])
    except (ValueError, LookupError, TypeError):
        text = response.text
    return " ".join(text.split())[:300]


def _asked_wait(headers: Mapping[str, str]) -> float:
    """The seconds that `Retry-After` asks for, if it names any."""
    try:
        return float(headers.get("retry-after", "0"))
    except ValueError:
        return 0.0
