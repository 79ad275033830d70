"""The gateway's own metrics, for Prometheus.

Every label has few values, whatever clients send: routes are templates, traits are those that the
engine has steered by.
"""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from gateway import __version__
from gateway.errors import GatewayError, OverloadedError, ShutdownError, UnavailableError
from gateway.observability.workers import SHARED_FOLDER, forget_dead_workers
from gateway.request_record import GenerationRecord, Observer, RequestRecord
from triton_models.contract.buckets import BETWEEN_TOKENS_SECONDS, FIRST_TOKEN_SECONDS
from triton_models.contract.request_vectors import COUNTED_AS

METRICS_PATH = "/metrics"
CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4

REQUEST_SECONDS = (
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0,
)  # fmt: skip
"""From what a refusal takes to REQUEST_TIMEOUT's default; the seconds in which most answers end
have the finest steps."""

MAX_TRAITS = 200
_OTHER = "other"

_METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"})

# When a series began is of no use to Prometheus, and doubles the number of series.
prometheus_client.disable_created_metrics()


class GatewayMetrics(Observer):
    """Counts and times what the gateway does. With several workers each scrape gives their sum."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        counter = partial(Counter, registry=registry)
        gauge = partial(Gauge, registry=registry)
        histogram = partial(Histogram, registry=registry)
        self._traits: set[str] = set()
        self._requests = counter(
            "persona_gateway_requests",
            "Requests that ended; /metrics itself is not counted anywhere.",
            ("route", "method", "status", "outcome"),
        )
        self._request_seconds = histogram(
            "persona_gateway_request_duration_seconds",
            "From a request's first byte to the end of its answer, streams to their last token.",
            ("route",),
            buckets=REQUEST_SECONDS,
        )
        self._first_token = histogram(
            "persona_gateway_time_to_first_token_seconds",
            "From sending a streamed generation to Triton to its first token.",
            buckets=FIRST_TOKEN_SECONDS,
        )
        self._between_tokens = histogram(
            "persona_gateway_time_between_tokens_seconds",
            "Between two tokens of a streamed generation; tokens that come together share it.",
            buckets=BETWEEN_TOKENS_SECONDS,
        )
        self._generations = counter(
            "persona_gateway_generations",
            "Generations that ended; a request may ask for several.",
            ("outcome",),
        )
        self._in_flight = gauge(
            "persona_gateway_generations_in_flight",
            "Generations that have begun and not ended, streamed or not.",
            ("stream",),
            multiprocess_mode="livesum",
        )
        self._prompt_tokens = counter(
            "persona_gateway_prompt_tokens",
            "Tokens of the prompts of generations that gave a token, reused ones among them.",
        )
        self._generated_tokens = counter(
            "persona_gateway_generated_tokens",
            "Tokens that have come; of a stopped answer, those before its reader left.",
        )
        self._steered = counter(
            "persona_gateway_steered_requests",
            "Generations that gave a token steered by a trait: a scalar other than 0, or a bound.",
            ("trait",),
        )
        self._limits_reached = counter(
            "persona_gateway_limits_reached",
            "Limits that answers reached: the requests' own and the policy's.",
            ("trait", "action"),
        )
        self._triton_failures = counter(
            "persona_gateway_triton_failures",
            "Calls of Triton that failed: generations, and questions such as probes and stops.",
            ("call", "code"),
        )
        self._retries = counter(
            "persona_gateway_generation_retries",
            "Generations that failed before their first token and were sent to another server.",
            ("code",),
        )
        self._endpoints = gauge(
            "persona_gateway_endpoints",
            "Triton servers, as they were last found.",
            ("state",),
            multiprocess_mode="livemostrecent",
        )
        self._ready = gauge(
            "persona_gateway_model_ready",
            "Whether the model answered when it was last looked at; 0 before that.",
            multiprocess_mode="livemostrecent",
        )
        self._stale_files = gauge(
            "persona_gateway_stale_files",
            "Files of keys and of the policy that are gone or broken: what was read before holds.",
            multiprocess_mode="livemax",
        )
        build = gauge(
            "persona_gateway_build_info",
            "Always 1: its labels say which release this is.",
            ("version",),
            multiprocess_mode="max",
        )
        build.labels(__version__).set(1)
        self._show_zeros()

    def exposition(self) -> bytes:
        """Returns all metrics as text; with several workers it reads files."""
        folder = os.environ.get(SHARED_FOLDER)
        if not folder:
            return generate_latest(self._registry)
        forget_dead_workers(Path(folder))
        shared = CollectorRegistry()
        MultiProcessCollector(shared, folder)
        return generate_latest(shared)

    def request_ended(self, request: RequestRecord) -> None:
        """Counts and times a request."""
        route = request.route
        if route == METRICS_PATH:
            return
        method = request.method if request.method in _METHODS else _OTHER
        status = f"{request.status // 100}xx" if request.status else "none"
        self._requests.labels(route, method, status, request.outcome).inc()
        self._request_seconds.labels(route).observe(request.seconds)

    def generation_began(self, generation: GenerationRecord) -> None:
        """Counts a generation as in flight."""
        self._in_flight.labels(str(generation.streamed).lower()).inc()

    def tokens_came(self, generation: GenerationRecord, count: int, seconds: float) -> None:
        """Counts and times tokens."""
        self._generated_tokens.inc(count)
        first = generation.first_token is None
        if first:
            self._prompt_tokens.inc(generation.prompt_tokens)
            # The engine refuses unknown traits, so an answer's steering has known ones only.
            traits = [*generation.steering, *(each.trait for each in generation.operations)]
            for label in {self._trait_label(trait, generation) for trait in traits}:
                self._steered.labels(label).inc()
        if not generation.streamed:
            return
        if first:
            self._first_token.observe(seconds)
        else:
            for _ in range(count):
                self._between_tokens.observe(seconds / count)

    def generation_ended(self, generation: GenerationRecord) -> None:
        """Counts a generation that ended."""
        self._in_flight.labels(str(generation.streamed).lower()).dec()
        self._generations.labels(generation.outcome).inc()
        for each in generation.limits_reached:
            trait = self._trait_label(each["trait"], generation)
            self._limits_reached.labels(trait, each["action"]).inc()
        if generation.error is not None:
            self.triton_failed("generate", generation.error)

    def triton_failed(self, call: str, error: GatewayError) -> None:
        """Counts a call of Triton, `generate` or `ask`, that failed."""
        # That is not Triton's failure, but our end.
        if not isinstance(error, ShutdownError):
            self._triton_failures.labels(call, error.code).inc()

    def generation_retried(self, error: GatewayError) -> None:
        """Counts a generation that is sent to another server."""
        self._retries.labels(error.code).inc()
        self.triton_failed("generate", error)

    def endpoints_seen(self, working: int, total: int) -> None:
        """Notes how many Triton servers there are, and how many of them work."""
        self._endpoints.labels("ready").set(working)
        self._endpoints.labels("away").set(total - working)
        self.model_seen(working > 0)

    def stale_files_seen(self, number: int) -> None:
        """Notes how many files of keys and of the policy cannot be used as they are."""
        self._stale_files.set(number)

    def model_seen(self, ready: bool) -> None:
        """Notes whether the model works."""
        self._ready.set(ready)

    def _trait_label(self, trait: str, generation: GenerationRecord) -> str:
        if trait in generation.vectors:
            return COUNTED_AS
        # Traits can be uploaded and removed for as long as the gateway runs.
        if trait not in self._traits and len(self._traits) >= MAX_TRAITS:
            return _OTHER
        self._traits.add(trait)
        return trait

    def _show_zeros(self) -> None:
        """Makes series that alerts watch begin at 0: nobody sees a series begin at 1 as a rise."""
        for stream in ("true", "false"):
            self._in_flight.labels(stream).set(0)
        for error in (OverloadedError, UnavailableError):
            self._retries.labels(error.code)
