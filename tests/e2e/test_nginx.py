"""The real nginx with the configuration of deploy/, before two gateways and two Tritons."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import ssl
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from launcher.loopback import free_ports
from launcher.processes import ManagedProcess
from tests.e2e.conftest import ONE_THREAD
from tests.e2e.gateways import RunningGateway, gateway
from tests.e2e.held_engine import held_engine
from tests.e2e.load import Outcome, load
from tests.e2e.test_gateway import events_of
from tests.e2e.test_two_tritons import Pair, servers, tritons
from tests.e2e.waiting import eventually
from triton_models.contract.errors import CONTEXT_LENGTH_WORDS
from triton_models.settings import REPOSITORY_ROOT

__all__ = ["tritons"]

CONFIGURATION = REPOSITORY_ROOT / "deploy" / "nginx"
CLIENTS = 8
BODY: dict[str, Any] = {"prompt": "Hello!", "max_tokens": 200, "min_tokens": 200, "stream": True}

pytestmark = pytest.mark.skipif(shutil.which("nginx") is None, reason="nginx is not installed")


@dataclass(frozen=True, slots=True)
class Front:
    """nginx, and what is behind it.

    Attributes:
        url: Its address.
        trust: Who believes its certificate.
        gateways: The gateways.
    """

    url: str
    trust: ssl.SSLContext
    gateways: list[RunningGateway]

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=self.url, verify=self.trust, timeout=60)


@pytest.fixture(scope="module")
def front(tritons: Pair, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    """Nginx before two gateways before two Tritons."""
    folder = readable_by_workers(tmp_path_factory.mktemp("nginx"))
    environment = {**os.environ, **ONE_THREAD, "TRUSTED_PROXIES": "127.0.0.1"}
    environment["TRITON_URL"] = ",".join(stack.settings.grpc_address for stack in tritons)
    with ExitStack() as running:
        gateways = [running.enter_context(gateway(folder, environment)) for _ in range(2)]
        for each in gateways:
            assert eventually(lambda it=each: servers(it, "ready") == 2)  # type: ignore[misc]
        # These tests are one address, which on a fast machine asks for more than its share.
        yield running.enter_context(nginx(folder, gateways, rate="100000r/s"))


@contextmanager
def nginx(folder: Path, gateways: list[RunningGateway], rate: str) -> Iterator[Front]:
    """Runs nginx before some gateways.

    Args:
        folder: Where its files go.
        gateways: The gateways.
        rate: How many requests an address may make, in the place of the configuration's.
    """
    (port,) = free_ports(1)
    trust = configure(folder, port, gateways, rate)
    command = ["nginx", "-p", str(folder), "-c", "nginx.conf", "-g", "daemon off;"]
    subprocess.run([*command[:-2], "-t", "-q"], check=True)
    process = ManagedProcess("nginx", command, os.environ, folder / "nginx.log")
    try:
        front = Front(f"https://localhost:{port}", trust, gateways)
        with front.client() as client:
            assert eventually(lambda: answers(client)), process.last_lines()
        yield front
    finally:
        process.stop(5)


def readable_by_workers(folder: Path) -> Path:
    """Lets a user without rights, as whom workers run, pass through a test's own folders."""
    for each in (folder, folder.parent, folder.parent.parent):
        each.chmod(0o755)
    return folder


def configure(folder: Path, port: int, gateways: list[RunningGateway], rate: str) -> ssl.SSLContext:
    """Copies the configuration with another rate, and fills in what every user has to."""
    shipped = (CONFIGURATION / "nginx.conf").read_text()
    text = re.sub(r"rate=\d+r/s;", f"rate={rate};", shipped)
    assert text != shipped
    (folder / "nginx.conf").write_text(text)
    (folder / "listen.conf").write_text(f"listen 127.0.0.1:{port} ssl http2;\n")
    template = (CONFIGURATION / "gateways.conf").read_text()
    for number, each in enumerate(gateways, 1):
        template = template.replace(f"gateway-{number}:8000", each.url.removeprefix("http://"))
    (folder / "gateways.conf").write_text(template)
    for name in ("tls", "tmp"):
        (folder / name).mkdir()
    certificate = folder / "tls" / "certificate.pem"
    subprocess.run(
        [
            "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
            "-nodes", "-days", "2", "-subj", "/CN=localhost",
            "-addext", "subjectAltName=DNS:localhost",
            "-keyout", str(folder / "tls" / "key.pem"), "-out", str(certificate),
        ],
        check=True,
        capture_output=True,
    )  # fmt: skip
    return ssl.create_default_context(cafile=str(certificate))


def answers(client: httpx.Client) -> bool:
    try:
        return client.get("/health/ready").status_code == 200
    except httpx.TransportError:
        return False


def test_pieces_come_as_they_are_made_and_not_at_the_end(front: Front, tritons: Pair) -> None:
    came = []

    def read() -> None:
        with (
            front.client() as client,
            client.stream("POST", "/api/v1/generate/baseline", json=BODY) as response,
        ):
            assert response.headers["content-type"].startswith("text/event-stream")
            for name, _ in events_of(response):
                came.append(name)  # looked at meanwhile

    with ThreadPoolExecutor(1) as pool, ExitStack() as held:
        engines = [held.enter_context(held_engine(each.triton)) for each in tritons]
        reading = pool.submit(read)
        # Held back, none would come before all are made.
        for _ in range(20):
            for engine in engines:
                engine.goes_on()
            number = len(came)
            eventually(lambda number=number: len(came) > number, 1.0)  # type: ignore[misc]
        assert eventually(lambda: len(came) > 3)
        assert "done" not in came
        held.close()
        reading.result()
    assert came[-1] == "done"


def test_a_client_s_name_of_a_request_goes_through_and_back(front: Front) -> None:
    with front.client() as client:
        named = client.get("/api/v1/traits", headers={"X-Request-ID": "my-name"})
        assert named.status_code == 200, named.text
        assert named.headers["x-request-id"] == "my-name"
        unnamed = client.get("/api/v1/traits")
        assert len(unnamed.headers["x-request-id"]) == 32
        assert "max-age" in unnamed.headers["strict-transport-security"]


def test_metrics_are_not_for_everybody(front: Front) -> None:
    with front.client() as client:
        answer = client.get("/metrics")
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    # The gateway itself has them.
    assert httpx.get(f"{front.gateways[0].url}/metrics").status_code == 200


def test_too_large_a_body_is_refused_in_the_api_s_own_form(front: Front) -> None:
    with front.client() as client:
        rest = client.post("/api/v1/generate", content=b"x" * 1_100_000)
        openai = client.post("/v1/chat/completions", content=b"x" * 1_100_000)
    assert (rest.status_code, openai.status_code) == (413, 400)
    assert "too large" in rest.json()["error"]
    error = openai.json()["error"]
    assert error["code"] == "context_length_exceeded"
    assert error["message"].startswith(CONTEXT_LENGTH_WORDS)


def test_a_vector_may_be_larger_than_other_bodies(front: Front) -> None:
    with front.client() as client:
        answer = client.put("/api/v1/traits/mine", content=b"x" * 1_100_000)
    # The gateway's own refusal: there are no admin's keys here.
    assert answer.status_code in (401, 403)


def test_one_client_cannot_take_everything(front: Front, tmp_path: Path) -> None:
    # No machine is so slow that it does not ask faster than this.
    with (
        nginx(readable_by_workers(tmp_path), front.gateways, rate="1r/m") as strict,
        strict.client() as client,
    ):
        answers = [client.get("/health") for _ in range(60)]
        refused = [each for each in answers if each.status_code == 429]
        assert refused
        assert refused[0].headers["retry-after"] == "1"
        assert refused[0].json()["code"] == "rate_limited"
        assert "message" in json.loads(client.get("/v1/models").text)["error"]


def failed_before_they_began(outcomes: list[Outcome]) -> list[Outcome]:
    return [each for each in outcomes if not each.succeeded and each.begun_at is None]


def answered_since(outcomes: list[Outcome], moment: float) -> bool:
    """Whether about every client has been answered since."""
    return sum(each.succeeded and each.sent_at > moment for each in outcomes) >= CLIENTS


def test_a_gateway_that_stops_loses_nothing_and_one_that_is_killed_only_its_open_streams(
    front: Front, tritons: Pair, tmp_path: Path
) -> None:
    first, second = front.gateways
    environment = {**os.environ, **ONE_THREAD, "TRUSTED_PROXIES": "127.0.0.1"}
    environment["TRITON_URL"] = ",".join(stack.settings.grpc_address for stack in tritons)
    with load(front.url, CLIENTS, front.trust) as outcomes:
        assert eventually(lambda: len(outcomes) > CLIENTS)
        os.kill(first.process.pid, signal.SIGTERM)
        assert eventually(lambda: not first.process.running)
        stopped_at = time.monotonic()
        assert eventually(lambda: answered_since(outcomes, stopped_at))
    assert [each for each in outcomes if not each.succeeded] == []

    with gateway(tmp_path, environment, PORT=first.url.rpartition(":")[2]):
        # nginx has left it out for up to 5 s.
        time.sleep(6)
        with load(front.url, CLIENTS, front.trust) as outcomes:
            assert eventually(lambda: len(outcomes) > CLIENTS)
            os.kill(second.process.pid, signal.SIGKILL)
            killed_at = time.monotonic()
            assert eventually(lambda: answered_since(outcomes, killed_at))
        assert failed_before_they_began(outcomes) == []
        for each in outcomes:
            assert each.succeeded or each.sent_at < killed_at

        triton = tritons[0].triton
        assert triton
        with load(front.url, CLIENTS, front.trust) as outcomes:
            assert eventually(lambda: len(outcomes) > CLIENTS)
            triton.stop(patience_seconds=0)
            stopped_at = time.monotonic()
            assert eventually(lambda: answered_since(outcomes, stopped_at))
        assert failed_before_they_began(outcomes) == []
        for each in outcomes:
            assert each.succeeded or '"code":"unavailable"' in each.text
