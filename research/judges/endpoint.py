"""A judge behind an OpenAI-compatible endpoint: OpenAI's own, vLLM, llama.cpp, ollama, ..."""

from __future__ import annotations

import random
import re
import threading
from collections.abc import Callable, Sequence

import httpx

from persona_client.errors import ConnectionFailedError
from persona_client.proxies import direct_transport
from persona_research.at_once import map_at_once
from persona_research.definitions import TraitDefinition
from persona_research.judges.chat_form import NUMBER_TOKENS, REASONING_TOKENS, ChatForm
from persona_research.judges.completions import JudgeCompletion, JudgeFailure, read_completion
from persona_research.judges.judge import POINTS, JudgeError
from persona_research.judges.rubric import READING, judge_prompt, parse_score
from persona_research.judges.token_scores import expected_score
from persona_research.progress import digest

KEY_VARIABLE = "OPENAI_API_KEY"
"""The environment variable that holds the key; an endpoint of one's own may need none."""

URL_VARIABLE = "OPENAI_BASE_URL"

DEFAULT_URL = "https://api.openai.com/v1"
CONCURRENCY = 8

_MAX_WAIT_SECONDS = 60.0
_MAX_ASKED_SECONDS = 300.0
_REASONING_PATIENCE = 5
"""How many times longer a model that thinks first may take."""

_UNWEIGHTED = "is scored by the numbers it replies with"
_COMPLETIONS = "/chat/completions"
_HINTS = {
    401: f": check the key in {KEY_VARIABLE}",
    403: f": check what the key in {KEY_VARIABLE} may use",
    404: ": check --judge-model, and --judge-url up to and with /v1",
}


class OpenAIJudge:
    """Asks an endpoint's chat completions for a number.

    Where the endpoint gives the tokens' probabilities, the score is the number's expected value;
    elsewhere it is the number. What fields the endpoint takes is found out with the first request.

    Args:
        model: The endpoint's name for the model.
        base_url: The endpoint's address, up to and with `/v1`.
        api_key: Sent as the bearer's token, if there is one.
        concurrency: The most requests at a time.
        attempts: How often to try a request that fails for a reason that may pass.
        first_wait: Seconds before the second try; each wait is twice the one before.
        timeout: Seconds to wait for a reply, or more of it; for a model that thinks, five times.
        say: Takes what is to be known of the endpoint: what it refuses, what it leaves unscored.

    Raises:
        JudgeError: The address or the key cannot be one.
    """

    scale = POINTS
    at_once = 32

    def __init__(
        self,
        model: str,
        *,
        base_url: str = DEFAULT_URL,
        api_key: str = "",
        concurrency: int = CONCURRENCY,
        attempts: int = 6,
        first_wait: float = 1.0,
        timeout: float = 60.0,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        if not re.fullmatch(r"[\x21-\x7e]*", api_key):
            raise JudgeError(
                f"the key in {KEY_VARIABLE} cannot be one: it has a space, a line end or a "
                "character that is not ASCII"
            )
        self._model = model
        self._url = _endpoint_url(base_url)
        self._key = api_key
        self._concurrency = concurrency
        self._attempts = attempts
        self._first_wait = first_wait
        self._timeout = timeout
        self._say = say
        self._form = ChatForm()
        self._lock = threading.Lock()
        self._said: set[str] = set()
        self._is_tried = False

    @property
    def name(self) -> str:
        """`openai` and which model."""
        return f"openai {self._model}"

    @property
    def identity(self) -> str:
        """The endpoint's address and the model."""
        return digest("openai", str(self._url), self._model, NUMBER_TOKENS, READING)

    def scores(
        self, trait: TraitDefinition, questions: Sequence[str], answers: Sequence[str]
    ) -> list[float | None]:
        """Scores answers; see `Judge`.

        A refusal, an answer that the endpoint filters or that is too long for it, and a reply that
        is not clearly a number, are no score. Without answers the endpoint is tried with a made-up
        one, the first time, so that a wrong key is found before there are any.

        Raises:
            JudgeError: The endpoint cannot be reached, or refuses the request.
        """
        prompts = [
            judge_prompt(trait, question, answer)
            for question, answer in zip(questions, answers, strict=True)
        ]
        if not prompts and not self._is_tried:
            prompts = [judge_prompt(trait, "How are you?", "I am well, thank you.")]
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        try:
            transport = direct_transport(httpx.HTTPTransport, self._url)
        except ConnectionFailedError as error:
            raise JudgeError(str(error)) from error
        with httpx.Client(headers=headers, transport=transport) as client:
            scores = map_at_once(
                lambda prompt, stopped: self._score(client, prompt, stopped),
                prompts,
                self._concurrency,
            )
        self._is_tried = True
        return scores if answers else []

    def _score(self, client: httpx.Client, prompt: str, stopped: threading.Event) -> float | None:
        while True:
            form = self._form
            found = self._ask(client, form, prompt, stopped)
            if isinstance(found, JudgeFailure):
                if found.is_of_this_answer:
                    self._note("leaves an answer without a score", found.message)
                    return None
                changed = form.without(found.details) if found.is_refusal else None
                if changed is None:
                    hint = _HINTS.get(found.status, "")
                    raise self._error(f"answers with status {found.status}: {found.message}{hint}")
                self._change(form, changed)
                continue
            score = self._read(found, form)
            if score is not None or found.ended or form.tokens >= REASONING_TOKENS:
                return score
            self._change(form, form.with_room())

    def _read(self, found: JudgeCompletion, form: ChatForm) -> float | None:
        """The score of a reply, weighted if the endpoint gives probabilities."""
        score = parse_score(found.text, ended=found.ended)
        if score is None or not form.logprobs:
            return score
        if not found.tokens:
            self._note(_UNWEIGHTED, "it gives no log probabilities")
        expected = expected_score(found.text, found.tokens)
        return score if expected is None else expected

    def _ask(
        self, client: httpx.Client, form: ChatForm, prompt: str, stopped: threading.Event
    ) -> JudgeCompletion | JudgeFailure:
        """Asks until there is an answer that does not pass by itself.

        Raises:
            JudgeError: There is none.
        """
        # What is no text in JSON becomes question marks.
        body = form.request(self._model, prompt.encode("utf-8", "replace").decode())
        patience = self._timeout * (_REASONING_PATIENCE if form.tokens > NUMBER_TOKENS else 1)
        reason, asked = "", 0.0
        for attempt in range(self._attempts):
            if attempt and stopped.wait(self._wait(attempt, asked)):
                break
            asked = 0.0
            try:
                answer = client.post(self._url, json=body, timeout=patience)
            except httpx.LocalProtocolError:
                # It quotes the header, and with it the key.
                raise self._error("cannot be sent a request with these headers") from None
            except httpx.TimeoutException:
                reason = f"does not answer within {patience:g} s"
                continue
            except httpx.RequestError as error:
                reason = f"cannot be reached: {error or type(error).__name__}"
                continue
            found = read_completion(answer)
            if isinstance(found, JudgeCompletion) or not found.is_transient:
                return found
            reason = f"answers with status {found.status}: {found.message}"
            asked = found.wait
            if asked > _MAX_ASKED_SECONDS:
                raise self._error(f"{reason}; it asks to come back in {asked:.0f} s")
        raise self._error(f"{reason}, {self._attempts} times")

    def _wait(self, attempt: int, asked: float) -> float:
        """Seconds to wait; spread, so that concurrent requests do not all come back at once."""
        backoff = self._first_wait * 2.0 ** (attempt - 1)
        return max(min(backoff, _MAX_WAIT_SECONDS), asked) * random.uniform(1.0, 1.5)

    def _change(self, old: ChatForm, new: ChatForm) -> None:
        """Asks in another form from now on, unless another thread has changed it already."""
        with self._lock:
            if self._form != old:
                return
            self._form = new
        if new.limit != old.limit:
            self._note("is asked with max_completion_tokens", "it takes no max_tokens")
        elif new.tokens > old.tokens:
            self._note(f"has room for {new.tokens} tokens", "it thinks before it replies")
        if not new.greedy and old.greedy:
            self._note("is asked without a temperature", "two runs may score differently")
        if not new.logprobs and old.logprobs:
            self._note(_UNWEIGHTED, "it takes no logprobs")

    def _note(self, what: str, why: str) -> None:
        """Says something once, however often it happens."""
        with self._lock:
            is_new = what not in self._said
            self._said.add(what)
        if is_new:
            self._say(f"judge {self.name} {what}: {self._without_key(why)}")

    def _error(self, what: str) -> JudgeError:
        address = self._url.copy_with(userinfo=b"", query=None)
        shown = str(address).removesuffix(_COMPLETIONS)
        return JudgeError(self._without_key(f"the judge at {shown} {what}"))

    def _without_key(self, text: str) -> str:
        return text.replace(self._key, "***") if self._key else text


def _endpoint_url(base_url: str) -> httpx.URL:
    """Returns the address of chat completions.

    Raises:
        JudgeError: The base cannot be an address.
    """
    try:
        url = httpx.URL(base_url.strip())
    except httpx.InvalidURL as error:
        raise JudgeError(f"--judge-url cannot be an address: {error}") from None
    if url.scheme not in ("http", "https") or not url.host:
        raise JudgeError("--judge-url must be an address such as http://localhost:8000/v1")
    return url.copy_with(path=url.path.rstrip("/").removesuffix(_COMPLETIONS) + _COMPLETIONS)
