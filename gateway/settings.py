"""The gateway's settings, and the variables that set them."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr

from gateway.rates import Rate
from gateway.triton_addresses import TritonAddresses
from triton_models import settings as shared
from triton_models.variables import Flag, Variables, variable


def _split(value: Any) -> Any:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


def _address(text: str) -> str:
    # Names would not be looked up, and * would let every client choose its address.
    ipaddress.ip_network(text)
    return text


def _name(text: str) -> str:
    if re.fullmatch(r"[A-Za-z0-9_.-]+", text) is None:
        raise ValueError("give names without ports and without *, separated by commas")
    return text


def _triton_url(text: str) -> str:
    TritonAddresses(text)
    return text


Seconds = Annotated[float, Field(gt=0, le=86_400)]
CommaSeparated = BeforeValidator(_split)
Address = Annotated[str, AfterValidator(_address)]
Name = Annotated[str, AfterValidator(_name)]


class Settings(Variables):
    """How the gateway serves, what it protects, and where Triton is."""

    host: str = shared.HOST
    port: shared.Port = shared.PORT
    workers: int = variable(
        1, "processes that serve; each has its own connection to Triton", ge=1, le=64
    )

    # What `/status` shows while Triton cannot be asked.
    model_name: str = shared.MODEL_NAME
    device: shared.Device = shared.DEVICE
    # Unset leaves them to the model server, which also lowers its own default of tokens to what
    # the context has room for.
    max_tokens: int | None = shared.MAX_TOKENS(None)
    temperature: float | None = shared.TEMPERATURE(None)
    top_p: float | None = shared.TOP_P(None)

    triton_url: Annotated[str, AfterValidator(_triton_url)] = variable(
        "localhost:8001",
        "where Triton's gRPC port is (`serve.sh` sets it); several servers as "
        "`host1:8001,host2:8001`, or `dns:///name:8001` for all addresses of a name",
    )
    triton_access_key: shared.TritonSecret = shared.TRITON_ACCESS_KEY
    max_open_requests: int = variable(
        1024, "generations that a process has open before it refuses more", ge=1
    )
    first_chunk_timeout: Seconds = variable(
        60.0, "seconds that an answer may take to begin, queueing included"
    )
    chunk_timeout: Seconds = variable(20.0, "seconds that a streamed answer may pause")
    request_timeout: Seconds = variable(
        300.0,
        "seconds that an answer may take in all; a request may send less as `X-Request-Timeout`",
    )
    heartbeat_interval: float = variable(
        15.0,
        "seconds that an event stream is silent before a comment is sent; 0 sends none, for "
        "clients that take each line for data",
        ge=0,
        le=86_400,
    )

    ready_cache: float = variable(
        3.0,
        "seconds that the outcome of a look at Triton is believed which `/health/ready` took "
        "itself",
        ge=0,
    )
    health_watch: Flag = variable(
        True, "whether servers are looked at all the time, not only when a request fails"
    )
    health_interval: Seconds = variable(1.0, "seconds between two looks at a server")

    max_connections: int = variable(
        4096, "connections that a process keeps open, fewer if file descriptors are scarce", ge=1
    )
    max_header_bytes: int = variable(65_536, "bytes of a request's line and headers", ge=1024)
    header_timeout: Seconds = variable(
        10.0, "seconds that a request's headers may take, and the first byte of a connection"
    )
    body_timeout: Seconds = variable(
        30.0, "seconds that a request's body may take, and one more for each 16 KiB"
    )
    keepalive_timeout: Seconds = variable(
        75.0,
        "seconds that a connection is kept between two requests: longer than proxies and clients "
        "keep theirs, which otherwise send requests into closing ones",
    )
    send_timeout: Seconds = variable(30.0, "seconds that a client may leave an answer unread")
    max_body_bytes: int = variable(1_048_576, "bytes of a request's body", ge=1024)
    max_prompt_chars: int = variable(200_000, "characters of a prompt, all messages together", ge=1)
    max_messages: int = variable(500, "messages of a chat", ge=1)

    vectors_dir: Path = shared.VECTORS_DIR
    max_vector_bytes: int = variable(64 * 2**20, "bytes of a vector file that is uploaded", ge=1024)
    max_request_vectors_bytes: int = variable(
        4 * 2**20, "bytes of the vectors that a request brings along, as float32 numbers", ge=1024
    )
    vector_timeout: Seconds = variable(
        10.0, "seconds that the model server may take to notice a change of vectors"
    )

    # Both are read by those who use them, whose messages show no part of them.
    api_keys_file: Path | None = variable(
        None,
        "a file with a JSON list of the API keys that `persona keys new` makes, followed while "
        "the gateway runs; without keys everybody may generate, and nobody may change vectors",
    )
    api_keys: str = variable("", "the same list itself")
    policy_file: Path | None = variable(
        None,
        "a file that says which role may steer which trait how far, followed while the gateway "
        "runs, such as [`deploy/policy.example.json`](../deploy/policy.example.json)",
    )
    rate_limit_requests: Rate = variable(
        "", "requests that a key or an address may send, such as `60/minute`"
    )
    rate_limit_tokens: Rate = variable(
        "", "tokens that a key or an address may have, of prompts and answers"
    )
    # It may hold a password.
    rate_limit_storage: SecretStr = variable(
        SecretStr("memory"),
        "where rate limits are counted: `memory`, or a `redis://` that workers and gateways share",
    )
    allowed_hosts: Annotated[tuple[Name, ...], CommaSeparated] = variable(
        (),
        "names that requests may ask for, separated by commas; a gateway without keys refuses "
        "every other name that a web page could have, such as `a.example` "
        "([security.md](security.md#names))",
    )
    trusted_proxies: Annotated[tuple[Address, ...], CommaSeparated] = variable(
        (),
        "addresses and networks of proxies whose `X-Forwarded-For` is believed, separated by "
        "commas",
    )
    cors_origins: Annotated[tuple[str, ...], CommaSeparated] = variable(
        (), "origins that browsers may call from, separated by commas"
    )
    audit_log: str = variable("", "where it is written down who steered what: a file, or `stdout`")
    audit_log_text: Flag = variable(False, "whether the audit log has prompts and answers, too")
    metrics_public: Flag = variable(False, "whether `/metrics` needs no key")
    docs: Flag = variable(True, "whether `/docs` and `/openapi.json` are served")
    shutdown_timeout: int = shared.SHUTDOWN_TIMEOUT(20)
    log_level: shared.LogLevel = shared.LOG_LEVEL
    log_format: shared.LogFormat = shared.LOG_FORMAT

    @property
    def shown_model_name(self) -> str:
        """The model's name as users see it."""
        return shared.shown_name(self.model_name)
