"""The gateway's configuration: environment variables, validated once."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from triton_models.settings import DEMO_MODEL

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
        triton_url: Where Triton's gRPC port is.
        first_chunk_timeout: How long an answer may take to begin, queueing included.
        chunk_timeout: How long a streamed answer may pause.
        request_timeout: How long an answer may take in all.
        heartbeat_interval: How long an event stream stays silent before a comment is sent.
        ready_timeout: How long the probe behind `/health/ready` may take.
        ready_cache: How long its outcome is believed.
        watchdog: Whether to reload a model that has died.
        watchdog_interval: How often the watchdog probes.
        reload_timeout: How long loading the model may take.
        max_body_bytes: The largest request body.
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
    first_chunk_timeout: Seconds = 60.0
    chunk_timeout: Seconds = 20.0
    request_timeout: Seconds = 300.0
    heartbeat_interval: Seconds = 15.0

    ready_timeout: Seconds = 5.0
    ready_cache: float = Field(default=3.0, ge=0)
    watchdog: bool = True
    watchdog_interval: Seconds = 1.0
    reload_timeout: Seconds = 600.0

    max_body_bytes: int = Field(default=1_048_576, ge=1024)
    cors_origins: Annotated[tuple[str, ...], NoDecode] = ()
    shutdown_timeout: int = Field(default=20, ge=0)
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_format: Literal["text", "json"] = "text"

    @field_validator("cors_origins", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        if isinstance(value, str):
            return tuple(origin.strip() for origin in value.split(",") if origin.strip())
        return value

    @field_validator("log_level", mode="before")
    @classmethod
    def _upper(cls, value: Any) -> Any:
        return value.upper() if isinstance(value, str) else value

    @property
    def shown_model_name(self) -> str:
        """The model's name as users see it."""
        return self.model_name or DEMO_MODEL
