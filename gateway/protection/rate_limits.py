"""How many requests a caller may make, and how many tokens it may have, in a time.

Windows are fixed: a count begins with the first request and ends when its time is over. Tokens are
charged when they have come, since nobody knows before how many there will be: what a caller has
running when its budget ends is what it gets beyond it.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from limits import RateLimitItem, errors
from limits.aio.storage import MemoryStorage, RedisStorage, Storage
from limits.aio.strategies import FixedWindowRateLimiter

from gateway.caller import Caller
from gateway.errors import RateLimitedError
from gateway.protection.configuration import ConfigurationError
from gateway.rates import parse_rate
from gateway.request_record import GenerationRecord, Observer, RequestRecord
from gateway.settings import Settings

_logger = logging.getLogger(__name__)

Budget = Literal["requests", "tokens"]

MEMORY = "memory"
"""The storage that each process has for itself."""

_STORAGE_SECONDS = 1.0
"""How long Redis may take: a request waits for it."""

_COMPLAIN_SECONDS = 60.0
_CHARACTERS_PER_TOKEN = 4

_HEADERS = ("limit", "remaining", "reset")

EXPOSED_HEADERS = [f"x-ratelimit-{what}-{of}" for what in _HEADERS for of in ("requests", "tokens")]
"""What a browser's script of another origin may read."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What is left of a budget; in `reset` seconds there is all of it again."""

    budget: Budget
    rate: RateLimitItem
    spent: bool
    remaining: int
    reset: int

    def headers(self) -> dict[str, str]:
        """Returns it as OpenAI's headers, which its clients read."""
        values = (str(self.rate.amount), str(self.remaining), f"{self.reset}s")
        return {
            f"x-ratelimit-{what}-{self.budget}": value
            for what, value in zip(_HEADERS, values, strict=True)
        }


class RateLimiter(Observer):
    """Counts what callers use. What cannot be counted, because Redis is away, is let through.

    Raises:
        ConfigurationError: There is no such storage.
    """

    def __init__(self, settings: Settings) -> None:
        self._rates: dict[Budget, str] = {
            "requests": settings.rate_limit_requests,
            "tokens": settings.rate_limit_tokens,
        }
        self._windows = FixedWindowRateLimiter(_open_storage(settings))
        self._owed: Counter[tuple[RateLimitItem, tuple[str, str]]] = Counter()
        self._charging: asyncio.Task[None] | None = None
        self._complain_at = 0.0

    async def take(self, caller: Caller) -> Sequence[Standing]:
        """Takes a request from a caller's budget and returns what is left of all its budgets.

        Raises:
            RateLimitedError: One of them is spent.
        """
        try:
            found = [await self._standing(budget, caller) for budget in self._rates]
        except errors.StorageError as error:
            self._complain(error)
            return []
        standings = [standing for standing in found if standing]
        for standing in standings:
            if standing.spent:
                raise _refusal(caller, standing)
        return standings

    def tokens_came(self, generation: GenerationRecord, count: int, seconds: float) -> None:
        """Charges tokens, and with the first of them the prompt's."""
        self._charge_answer(generation, generation.prompt_tokens, count)

    def tokens_came_late(self, generation: GenerationRecord, prompt: int, count: int) -> None:
        """Charges what was generated for a client that did not wait for it."""
        self._charge_answer(generation, prompt, count)

    def request_ended(self, request: RequestRecord) -> None:
        """Charges prompts that the model refused, or whose client left before the first token.

        Those of a refused request are one prompt, which the model has tokenized once.
        """
        unpaid = [
            generation
            for generation in request.generations
            if not generation.prompt_charged and generation.outcome in ("client_error", "cancelled")
        ]
        if not unpaid:
            return
        # Of a prompt whose tokens nobody has told, about so many.
        sizes = [
            each.prompt_tokens or math.ceil(each.prompt_chars / _CHARACTERS_PER_TOKEN)
            for each in unpaid
        ]
        is_refused = any(each.outcome == "client_error" for each in unpaid)
        for each in unpaid:
            each.prompt_charged = True
        self._owe(request, max(sizes) if is_refused else sum(sizes))

    def _charge_answer(self, generation: GenerationRecord, prompt: int, count: int) -> None:
        if generation.request is None:
            return
        if not generation.prompt_charged:
            generation.prompt_charged = True
            count += prompt
        self._owe(generation.request, count)

    def _owe(self, request: RequestRecord, count: int) -> None:
        rate = None if request.caller is None else self._rate(request.caller, "tokens")
        if request.caller is None or rate is None:
            return
        self._owed[rate, request.caller.counted_as] += count
        if self._charging is None or self._charging.done():
            # What comes while this waits for the storage goes there together.
            self._charging = asyncio.create_task(self._charge())

    async def close(self) -> None:
        """Waits until what has been used is charged."""
        if self._charging is not None:
            await self._charging

    async def _charge(self) -> None:
        while self._owed:
            (rate, who), count = self._owed.popitem()
            try:
                await self._windows.hit(rate, "tokens", *who, cost=count)
            except errors.StorageError as error:
                self._complain(error)
            except Exception:
                _logger.exception("tokens could not be charged")

    async def _standing(self, budget: Budget, caller: Caller) -> Standing | None:
        rate = self._rate(caller, budget)
        if rate is None:
            return None
        # A request is counted as it comes, tokens when they have come.
        take = self._windows.hit if budget == "requests" else self._windows.test
        is_left = await take(rate, budget, *caller.counted_as)
        stats = await self._windows.get_window_stats(rate, budget, *caller.counted_as)
        reset = max(1, math.ceil(stats.reset_time - time.time()))
        return Standing(budget, rate, not is_left, stats.remaining, reset)

    def _rate(self, caller: Caller, budget: Budget) -> RateLimitItem | None:
        own = caller.request_rate if budget == "requests" else caller.token_rate
        return parse_rate(own or self._rates[budget])

    def _complain(self, error: errors.StorageError) -> None:
        now = time.monotonic()
        if now >= self._complain_at:
            self._complain_at = now + _COMPLAIN_SECONDS
            reason = repr(error.storage_error)
            _logger.error("rate limits cannot be counted: all are let in", extra={"reason": reason})


def _refusal(caller: Caller, spent: Standing) -> RateLimitedError:
    owner = f"the API key {caller.key_name!r}" if caller.key_name else "this address"
    return RateLimitedError(
        f"{owner} has spent its {spent.budget}, {spent.rate}: try again in {spent.reset} s",
        spent.reset,
        spent.headers(),
    )


def _open_storage(settings: Settings) -> Storage:
    """Returns where counts are kept.

    Raises:
        ConfigurationError: It is unknown. The message does not repeat it: it may hold a password.
    """
    url = settings.rate_limit_storage.get_secret_value()
    if url == MEMORY:
        return MemoryStorage(wrap_exceptions=True)
    try:
        if not url.startswith(("redis://", "rediss://")):
            raise ValueError(url)
        return RedisStorage(
            url,
            wrap_exceptions=True,
            implementation="redispy",
            socket_timeout=_STORAGE_SECONDS,
            socket_connect_timeout=_STORAGE_SECONDS,
        )
    except (ValueError, errors.ConfigurationError):
        raise ConfigurationError(
            f"RATE_LIMIT_STORAGE is neither {MEMORY} nor an address like redis://host:6379"
        ) from None
