"""The gateway's configuration: environment variables, validated once."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from gateway.rates import Rate
from gateway.triton_addresses import TritonAddresses
from triton_models import control
from triton_models.settings import DATA_ROOT, DEMO_MODEL

Seconds = Annotated[float, Field(gt=0, le=86_400)]


class Settings(BaseSettings):
    """What the environment says; each field is the variable of the same name in capitals.

    Attributes:
        host: The address to listen on.
        port: The port to listen on.
        workers: How many processes serve; each has its own connection to Triton.
        model_name: What `/status` shows while Triton cannot be asked; `""` is the demo model.
        device: The same for the device.
        max_tokens: For requests that name none; unset leaves it to the model server, which also
            lowers its own default to what the context has room for.
        temperature: For requests that name none; unset leaves it to the model server.
        top_p: For requests that name none; unset leaves it to the model server.
        triton_url: Where Triton's gRPC port is: `host:port`, several of them separated by commas,
            or `dns:///name:port` for all addresses of a name.
        triton_access_key: The secret that Triton asks for before it generates, if it does; all
            servers have the same.
        max_open_requests: How many generations a process may have open before it refuses more.
        first_chunk_timeout: How long an answer may take to begin, queueing included.
        chunk_timeout: How long a streamed answer may pause.
        request_timeout: How long an answer may take in all.
        heartbeat_interval: How long an event stream stays silent before a comment is sent.
        ready_cache: How long the outcome of a look is believed that `/health/ready` took itself.
        health_watch: Whether to look at the servers all the time, not only when a request fails.
        health_interval: How often.
        max_connections: How many connections a process has open, fewer if descriptors are scarce.
        max_header_bytes: The most bytes of a request's line and headers.
        header_timeout: How long they may take to come, and a new connection to say something.
        body_timeout: How long a request's body may take, and one more for each 16 KiB of it.
        send_timeout: How long a client may leave an answer unread.
        max_body_bytes: The largest request body.
        max_vector_bytes: The largest vector file that can be uploaded.
        vectors_dir: The folder of vector files, which Triton must see too.
        vector_timeout: How long the model server may take to notice a change in that folder.
        api_keys: The API keys, as JSON; with neither these nor a file everybody is let in.
        api_keys_file: A file of them, followed while the gateway runs.
        policy_file: A file that says how strongly which role may steer, followed likewise.
        rate_limit_requests: What a caller may ask for, such as `60/minute`; unset, all.
        rate_limit_tokens: How many tokens it may have, of prompts and answers; unset, all.
        rate_limit_storage: `memory`, or the URL of a Redis that all workers and gateways share.
        allowed_hosts: Names that requests may ask for, separated by commas, besides addresses
            and names that nobody can register; without any, and with keys, every name.
        trusted_proxies: Addresses and networks of proxies whose X-Forwarded-For is believed.
        audit_log: Where steered generations are written down, a file or `stdout`.
        audit_log_text: Whether with their prompts and answers.
        metrics_public: Whether `/metrics` needs no key.
        docs: Whether there are `/docs` and `/openapi.json`.
        max_prompt_chars: The most characters of a prompt, all messages together.
        max_messages: The most messages of a chat.
        cors_origins: Origins that browsers may call from, separated by commas; none by default.
        shutdown_timeout: How long open requests may go on after SIGTERM.
        log_level: The least severe level that is logged.
        log_format: `text` for people, `json` for machines.
    """

    model_config = SettingsConfigDict(env_ignore_empty=True, extra="ignore", frozen=True)

    host: str = "0.0.0.0"
    port: int = Field(default=8000, ge=0, le=65_535)
    workers: int = Field(default=1, ge=1, le=64)

    model_name: str = ""
    device: str = "auto"
    max_tokens: int | None = Field(default=None, ge=1, le=1_000_000)
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, ge=0.001, le=1)

    triton_url: str = Field(default="localhost:8001", min_length=1)
    triton_access_key: SecretStr = SecretStr("")
    max_open_requests: int = Field(default=1024, ge=1)
    first_chunk_timeout: Seconds = 60.0
    chunk_timeout: Seconds = 20.0
    request_timeout: Seconds = 300.0
    heartbeat_interval: Seconds = 15.0

    ready_cache: float = Field(default=3.0, ge=0)
    health_watch: bool = True
    health_interval: Seconds = 1.0

    max_connections: int = Field(default=4096, ge=1)
    max_header_bytes: int = Field(default=65_536, ge=1024)
    header_timeout: Seconds = 10.0
    body_timeout: Seconds = 30.0
    send_timeout: Seconds = 30.0
    max_body_bytes: int = Field(default=1_048_576, ge=1024)
    max_vector_bytes: int = Field(default=64 * 2**20, ge=1024)
    vectors_dir: Path = DATA_ROOT / "vectors"
    vector_timeout: Seconds = 10.0
    # Read by those who use them, whose messages show no part of them.
    api_keys: str = ""
    api_keys_file: Path | None = None
    policy_file: Path | None = None
    rate_limit_requests: Rate = ""
    rate_limit_tokens: Rate = ""
    # It may hold a password.
    rate_limit_storage: SecretStr = SecretStr("memory")
    allowed_hosts: Annotated[tuple[str, ...], NoDecode] = ()
    trusted_proxies: Annotated[tuple[str, ...], NoDecode] = ()
    audit_log: str = ""
    audit_log_text: bool = False
    metrics_public: bool = False
    docs: bool = True
    max_prompt_chars: int = Field(default=200_000, ge=1)
    max_messages: int = Field(default=500, ge=1)
    cors_origins: Annotated[tuple[str, ...], NoDecode] = ()
    shutdown_timeout: int = Field(default=20, ge=0)
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_format: Literal["text", "json"] = "text"

    @field_validator("cors_origins", "trusted_proxies", "allowed_hosts", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("trusted_proxies")
    @classmethod
    def _are_addresses(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for part in value:
            # Names would not be looked up, and * would let every client choose its address.
            ipaddress.ip_network(part)
        return value

    @field_validator("allowed_hosts")
    @classmethod
    def _are_names(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for part in value:
            if re.fullmatch(r"[A-Za-z0-9_.-]+", part) is None:
                raise ValueError("give names without ports and without *, separated by commas")
        return value

    @field_validator("triton_url")
    @classmethod
    def _check(cls, value: str) -> str:
        TritonAddresses(value)
        return value

    @field_validator("triton_access_key")
    @classmethod
    def _is_usable(cls, value: SecretStr) -> SecretStr:
        if value:
            control.checked_key(value.get_secret_value())
        return value

    @field_validator("log_level", mode="before")
    @classmethod
    def _upper(cls, value: Any) -> Any:
        return value.upper() if isinstance(value, str) else value

    @classmethod
    def is_secret(cls, name: str) -> bool:
        """Whether a field's value is for nobody's eyes."""
        field = cls.model_fields.get(name)
        return field is not None and field.annotation is SecretStr

    @property
    def shown_model_name(self) -> str:
        """The model's name as users see it."""
        return self.model_name or DEMO_MODEL
