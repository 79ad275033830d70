"""The supervisor's status endpoint, for people, orchestrators and Prometheus."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from enum import Enum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from launcher.settings import port_taken


class State(Enum):
    """The state of Triton, as known to the supervisor."""

    STARTING = "starting"
    READY = "ready"
    BUSY = "busy"
    """It serves, and requests are waiting for a row of the batch."""
    RELOADING = "reloading"
    """A model's process is being replaced."""
    RESTARTING = "restarting"
    """Triton itself is being restarted."""
    DRAINING = "draining"
    """New requests are refused, open ones are completed."""
    STOPPED = "stopped"
    FAILED = "failed"
    """The supervisor has given up."""


SERVING = frozenset({State.READY, State.BUSY})

MAX_CONNECTIONS = 32
"""Connections of the status port at once; a new one replaces the oldest."""

CONNECTION_SECONDS = 5.0
"""How long a connection of the status port may last, from its first moment."""

_ACCEPT_PAUSE_SECONDS = 0.1

Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The status at one moment; the reason is a sentence, or `""` if nothing needs one."""

    state: str
    reason: str
    since_seconds: float
    reloads: int
    restarts: int


class SupervisorStatus:
    """The state of Triton and its history; thread-safe."""

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._state = State.STARTING
        self._reason = ""
        self._since = clock()
        self._reloads = 0
        self._restarts = 0

    @property
    def state(self) -> State:
        """The state of Triton."""
        return self._state

    def become(self, state: State, reason: str = "") -> None:
        """Changes the state. Each call counts that makes it reload or restart."""
        with self._lock:
            if state is not self._state:
                self._since = self._clock()
            self._reloads += state is State.RELOADING
            self._restarts += state is State.RESTARTING
            self._state, self._reason = state, reason

    def explain(self, reason: str) -> None:
        """Says why the state is what it is."""
        with self._lock:
            self._reason = reason

    def snapshot(self) -> Snapshot:
        """Returns a consistent snapshot."""
        with self._lock:
            seconds = round(self._clock() - self._since, 3)
            return Snapshot(self._state.value, self._reason, seconds, self._reloads, self._restarts)


def prometheus_text(snapshot: Snapshot) -> str:
    """Returns the status in Prometheus' text format."""
    states = [
        f'persona_supervisor_state{{state="{state.value}"}} {int(state.value == snapshot.state)}'
        for state in State
    ]
    lines = [
        "# HELP persona_supervisor_state What Triton is doing: 1 for that state, else 0.",
        "# TYPE persona_supervisor_state gauge",
        *states,
        "# HELP persona_supervisor_reloads_total How often a model was loaded again.",
        "# TYPE persona_supervisor_reloads_total counter",
        f"persona_supervisor_reloads_total {snapshot.reloads}",
        "# HELP persona_supervisor_restarts_total How often Triton was started again.",
        "# TYPE persona_supervisor_restarts_total counter",
        f"persona_supervisor_restarts_total {snapshot.restarts}",
    ]
    return "\n".join(lines) + "\n"


_TEXT = "text/plain; version=0.0.4"
_JSON = "application/json"


def answer_to(path: str, status: SupervisorStatus) -> tuple[int, str, str]:
    """Returns the HTTP status, content type and body for a path of the status port."""
    snapshot, state = status.snapshot(), status.state
    if path == "/metrics":
        return 200, _TEXT, prometheus_text(snapshot)
    body = json.dumps(asdict(snapshot)) + "\n"
    if path == "/status":
        return 200, _JSON, body
    if path == "/live":
        return (503 if state is State.FAILED else 200), _JSON, body
    if path == "/ready":
        return (200 if state in SERVING else 503), _JSON, body
    return 404, _TEXT, "unknown path: use /live, /ready, /status or /metrics\n"


class StatusServer:
    """Answers on the status port until it is closed.

    Raises:
        LaunchError: The port cannot be used.
    """

    def __init__(
        self, host: str, port: int, status: SupervisorStatus, clock: Clock = time.monotonic
    ) -> None:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.0"  # no keep-alive, which would occupy a thread

            def do_GET(self) -> None:
                code, kind, body = answer_to(self.path.partition("?")[0], status)
                data = body.encode()
                self.send_response(code)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                """Logs nothing: probes arrive every few seconds."""

        try:
            self._server = _Server((host, port), Handler, clock)
        except OSError as error:
            raise port_taken("STATUS_PORT", host, port, error) from error
        thread = threading.Thread(target=self._server.serve_forever, name="status", daemon=True)
        thread.start()

    def close(self) -> None:
        """Stops answering."""
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    """Serves each connection in a thread, few at once and each for a short time."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(
        self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler], clock: Clock
    ) -> None:
        self._clock = clock
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        # When each connection began, the oldest first.
        self._open: dict[socket.socket, float] = {}
        self._closed = threading.Condition()
        super().__init__(address, handler)

    def get_request(self) -> tuple[socket.socket, Any]:
        try:
            return super().get_request()
        except OSError:
            # Without descriptors the connection goes on waiting, so the next try is at once.
            time.sleep(_ACCEPT_PAUSE_SECONDS)
            raise

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._closed:
            if len(self._open) >= MAX_CONNECTIONS:
                _end(next(iter(self._open)))
                self._closed.wait_for(lambda: len(self._open) < MAX_CONNECTIONS)
            self._open[request] = self._clock()
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        super().shutdown_request(request)
        with self._closed:
            self._open.pop(request, None)
            self._closed.notify()

    def service_actions(self) -> None:
        """Ends connections that took too long; it is called at least twice a second."""
        self._end_those_since(self._clock() - CONNECTION_SECONDS)

    def server_close(self) -> None:
        super().server_close()
        self._end_those_since(self._clock())

    def handle_error(self, *_: object) -> None:
        """Ignores clients that disconnect early."""

    def _end_those_since(self, latest: float) -> None:
        with self._closed:
            for request, began in self._open.items():
                if began <= latest:
                    _end(request)


def _end(request: socket.socket) -> None:
    """Makes a connection's thread end: what it reads or writes next fails."""
    with contextlib.suppress(OSError):  # the client or the thread was faster
        request.shutdown(socket.SHUT_RDWR)
