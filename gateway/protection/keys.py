"""API keys: what is known about each, and which one a request has.

Only SHA-256 hashes are kept. A slow hash makes guessing dear where people choose passwords; these
keys are 256 random bits, which nobody guesses, and each request would have to pay for it.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from datetime import datetime, timezone

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, TypeAdapter

from gateway.caller import Role
from gateway.protection.configuration import ConfigurationError, WatchedFile, parse_json
from gateway.rates import Rate
from gateway.settings import Settings

MIN_KEY_CHARS = 32
"""Characters of the shortest key that is taken: the hash of a password opens nothing."""


class KeyEntry(BaseModel):
    """A key, as files of keys have it.

    Attributes:
        name: What logs, the audit log and limits call its owner. Several keys may have one name,
            so that an old and a new one are in use while they are exchanged.
        sha256: The hash of the key's characters.
        expires: From when on it is refused, with an offset from UTC.
        requests: Its own limit in place of RATE_LIMIT_REQUESTS.
        tokens: Its own limit in place of RATE_LIMIT_TOKENS.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[A-Za-z0-9_.@-]{1,64}$")
    role: Role
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    disabled: bool = False
    expires: AwareDatetime | None = None
    requests: Rate = ""
    tokens: Rate = ""
    comment: str = ""

    def refusal(self) -> str:
        """Returns why the key is not taken, or `""` if it is."""
        if self.disabled:
            return "the API key is disabled"
        if self.expires is not None and self.expires <= datetime.now(timezone.utc):
            return "the API key has expired"
        return ""


_KIND = TypeAdapter(list[KeyEntry])


def parse_keys(text: str) -> list[KeyEntry]:
    """Returns the keys that JSON describes.

    Raises:
        ConfigurationError: It describes none, or contradicts itself.
    """
    entries = parse_json(text, _KIND)
    if len({entry.sha256 for entry in entries}) < len(entries):
        raise ConfigurationError("one key is given twice")
    if len({(entry.name, entry.role) for entry in entries}) > len({e.name for e in entries}):
        raise ConfigurationError("keys of one name have different roles")
    return entries


class KeyStore:
    """The keys of API_KEYS_FILE, or else of API_KEYS.

    Raises:
        ConfigurationError: They cannot be used.
    """

    def __init__(self, settings: Settings) -> None:
        self.file: WatchedFile[list[KeyEntry]] | None = None
        self._entries: Sequence[KeyEntry] = ()
        # A file without a single key locks everybody out. The other way round, removing the last
        # key would open the gateway to all.
        self.required = bool(settings.api_keys or settings.api_keys_file)
        if settings.api_keys and settings.api_keys_file:
            raise ConfigurationError("API_KEYS and API_KEYS_FILE are both set: use one of them")
        if settings.api_keys_file:
            self.file = WatchedFile(settings.api_keys_file, parse_keys)
        elif settings.api_keys:
            try:
                self._entries = parse_keys(settings.api_keys)
            except ConfigurationError as error:
                raise ConfigurationError(f"API_KEYS: {error}") from error

    def find(self, key: bytes) -> KeyEntry | None:
        """Returns the entry of a key, if there is one; the time it takes says nothing about any."""
        if len(key) < MIN_KEY_CHARS:
            return None
        digest = hashlib.sha256(key).hexdigest()
        found = None
        for entry in self.file.value if self.file else self._entries:
            if hmac.compare_digest(entry.sha256, digest):
                found = entry
        return found
