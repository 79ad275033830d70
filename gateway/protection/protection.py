"""All that protects a gateway, from one configuration."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any

from gateway.caller import NOBODY, plain_address
from gateway.ensemble_request import EnsembleRequest
from gateway.errors import SteeringRefusedError
from gateway.protection.audit import AuditLog
from gateway.protection.configuration import WatchedFile
from gateway.protection.keys import KeyStore
from gateway.protection.policy import operations_meant, parse_policy
from gateway.protection.rate_limits import MEMORY, RateLimiter
from gateway.request_record import Observer, RequestRecord
from gateway.settings import Settings

_logger = logging.getLogger(__name__)

Describe = Callable[[], Awaitable[Mapping[str, Any]]]

_LOOK_SECONDS = 1.0
_PROXIES = frozenset({b"forwarded", b"x-forwarded-for", b"x-real-ip", b"via"})
"""Headers by which proxies say for whom they ask, or that they are some."""

_NO_VECTORS = (
    "vectors in a request are not allowed: they are for the role admin, or where there are no keys "
    "for this machine, unless the policy says otherwise; use the server's traits"
)


class Protection:
    """Keys, policy, limits and the audit log.

    Raises:
        ConfigurationError: Some of it cannot be used.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.keys = KeyStore(settings)
        file = settings.policy_file
        self._policy = WatchedFile(file, parse_policy) if file else None
        self.limiter = RateLimiter(settings)
        log = settings.audit_log
        self._audit = AuditLog(log, settings.audit_log_text) if log else None

    @property
    def observers(self) -> list[Observer]:
        """Who must be told about requests and generations."""
        return [self.limiter, *([self._audit] if self._audit else [])]

    async def admit(
        self, describe: Describe, request: RequestRecord | None, asked: EnsembleRequest
    ) -> EnsembleRequest:
        """Makes sure that a generation may be started; all are, by way of this.

        Args:
            describe: Asks the model server which traits it has, if the policy has to know.
            request: Who asks.
            asked: What for.

        Returns:
            What may be sent: the request with all that the policy enforces.

        Raises:
            SteeringRefusedError: The policy forbids it.
            GatewayError: The model server cannot be asked.
        """
        policy = self._policy.value if self._policy else None
        role = ((request and request.caller) or NOBODY).role
        traits = (await describe())["traits"] if policy is not None and asked.scalars else {}
        try:
            if asked.parsed.vectors and not self.takes_vectors(request):
                raise SteeringRefusedError(_NO_VECTORS)
            if policy is not None:
                policy.check(role, asked, operations_meant(asked, traits))
        except SteeringRefusedError as error:
            if self._audit is not None:
                self._audit.refused(request, asked, error)
            raise
        return asked if policy is None else asked.enforcing(policy.enforced_on(role))

    def takes_vectors(self, request: RequestRecord | None) -> bool:
        """Whether whoever sends a request may bring vectors along.

        If the policy does not say so, admins may; and where there are no keys, whoever is on the
        same machine, unless through a proxy there.
        """
        caller = (request and request.caller) or NOBODY
        rule = self._policy.value.vectors if self._policy else None
        if rule is not None:
            return rule.admin if caller.role == "admin" else rule.user
        if self.keys.required:
            return caller.role == "admin"
        return (
            request is not None
            and _is_loopback(plain_address(caller.address))
            and not _PROXIES & {name for name, _ in request.scope["headers"]}
        )

    async def follow(self, noted: Callable[[int], None]) -> None:
        """Looks for changes of the files of keys and of the policy, until it is cancelled.

        `noted` is told after each look how many of the files cannot be used as they are.
        """
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            try:
                await self.refresh()
            except Exception:
                _logger.exception("keys and policy could not be looked at")
            noted(sum(file.is_stale for file in self._files))

    async def refresh(self) -> None:
        """Looks whether the files of keys and of the policy have changed."""
        for file in self._files:
            # In a thread, because a network's file system may hang.
            await asyncio.to_thread(file.refresh)

    @property
    def _files(self) -> list[WatchedFile[Any]]:
        return [file for file in (self.keys.file, self._policy) if file is not None]

    async def close(self) -> None:
        """Writes and charges what is open."""
        with suppress(asyncio.CancelledError):
            await self.limiter.close()
        if self._audit is not None:
            await asyncio.to_thread(self._audit.close)

    def warnings(self, traits: Mapping[str, Mapping[str, Any]] | None = None) -> list[str]:
        """Returns what whoever runs the gateway should know.

        `traits` are those that a model server describes, if one does.
        """
        settings = self._settings
        found = []
        if not self.keys.required and not _is_loopback(settings.host):
            found.append(
                f"no API keys are set and HOST is {settings.host}: whoever reaches this gateway "
                "can use it (see docs/security.md)"
            )
        limited = settings.rate_limit_requests or settings.rate_limit_tokens
        in_memory = settings.rate_limit_storage.get_secret_value() == MEMORY
        if limited and in_memory and settings.workers > 1:
            found.append(
                f"each of {settings.workers} workers counts rate limits for itself: set "
                "RATE_LIMIT_STORAGE to a Redis"
            )
        if self._policy is not None and traits is not None:
            found += self._policy.value.warnings(traits)
        return found


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
