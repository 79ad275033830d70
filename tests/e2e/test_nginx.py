"""The real nginx with the configuration of deploy/, before two gateways and two Tritons."""

from __future__ import annotations

import json
import os
import shutil
import signal
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from launcher.loopback import free_ports
from launcher.processes import ManagedProcess
from tests.e2e.conftest import ONE_THREAD
from tests.e2e.gateways import RunningGateway, gateway
from tests.e2e.load import Outcome, load
from tests.e2e.test_gateway import events_of
from tests.e2e.test_two_tritons import Pair, servers, tritons
from tests.e2e.waiting import eventually
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
    (port,) = free_ports(1)
    environment = {**os.environ, **ONE_THREAD, "TRUSTED_PROXIES": "127.0.0.1"}
    environment["TRITON_URL"] = ",".join(stack.settings.grpc_address for stack in tritons)
    with ExitStack() as running:
        gateways = [running.enter_context(gateway(folder, environment)) for _ in range(2)]
        for each in gateways:
            assert eventually(lambda it=each: servers(it, "ready") == 2, 30)  # type: ignore[misc]
        trust = configure(folder, port, gateways)
        command = ["nginx", "-p", str(folder), "-c", "nginx.conf", "-g", "daemon off;"]
        subprocess.run([*command[:-2], "-t", "-q"], check=True)
        nginx = ManagedProcess("nginx", command, os.environ, folder / "nginx.log")
        running.callback(nginx.stop, 5)
        made = Front(f"https://localhost:{port}", trust, gateways)
        with made.client() as client:
            assert eventually(lambda: answers(client), 20), nginx.last_lines()
        yield made


def readable_by_workers(folder: Path) -> Path:
    """Lets a user without rights, as whom workers run, pass through a test's own folders."""
    for each in (folder, folder.parent, folder.parent.parent):
        each.chmod(0o755)
    return folder


def configure(folder: Path, port: int, gateways: list[RunningGateway]) -> ssl.SSLContext:
    """Copies the configuration and fills in what every user has to."""
    shutil.copy(CONFIGURATION / "nginx.conf", folder)
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


def test_pieces_come_as_they_are_made_and_not_at_the_end(front: Front) -> None:
    came = []
    with (
        front.client() as client,
        client.stream("POST", "/api/v1/generate/baseline", json=BODY) as response,
    ):
        assert response.headers["content-type"].startswith("text/event-stream")
        came = [(time.monotonic(), name) for name, _ in events_of(response)]
    assert came[-1][1] == "done"
    moments = {round(moment, 3) for moment, _ in came}
    # Held back, they would all come in one or a few moments.
    assert len(moments) > 20


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


@pytest.mark.parametrize("path", ["/api/v1/generate", "/v1/chat/completions"])
def test_too_large_a_body_is_refused_in_the_api_s_own_form(front: Front, path: str) -> None:
    with front.client() as client:
        answer = client.post(path, content=b"x" * 1_100_000)
    assert answer.status_code == 413
    body = answer.json()
    message = body["error"]["message"] if path.startswith("/v1/") else body["error"]
    assert "too large" in message


def test_a_vector_may_be_larger_than_other_bodies(front: Front) -> None:
    with front.client() as client:
        answer = client.put("/api/v1/traits/mine", content=b"x" * 1_100_000)
    # The gateway's own refusal: there are no admin's keys here.
    assert answer.status_code in (401, 403)


def failed_before_they_began(outcomes: list[Outcome]) -> list[Outcome]:
    return [each for each in outcomes if not each.succeeded and each.begun_at is None]


def test_a_gateway_that_stops_loses_nothing_and_one_that_is_killed_only_its_open_streams(
    front: Front, tritons: Pair, tmp_path: Path
) -> None:
    first, second = front.gateways
    environment = {**os.environ, **ONE_THREAD, "TRUSTED_PROXIES": "127.0.0.1"}
    environment["TRITON_URL"] = ",".join(stack.settings.grpc_address for stack in tritons)
    with load(front.url, CLIENTS, front.trust) as outcomes:
        time.sleep(1)
        os.kill(first.process.pid, signal.SIGTERM)
        assert eventually(lambda: not first.process.running, 60)
        time.sleep(1)
    assert [each for each in outcomes if not each.succeeded] == []
    assert len(outcomes) > CLIENTS

    with gateway(tmp_path, environment, PORT=first.url.rpartition(":")[2]):
        # nginx has left it out for up to 5 s.
        time.sleep(5)
        with load(front.url, CLIENTS, front.trust) as outcomes:
            time.sleep(1)
            os.kill(second.process.pid, signal.SIGKILL)
            killed_at = time.monotonic()
            time.sleep(3)
        assert failed_before_they_began(outcomes) == []
        for each in outcomes:
            assert each.succeeded or each.ended_at < killed_at + 2
        assert any(each.sent_at > killed_at and each.succeeded for each in outcomes)

        triton = tritons[0].triton
        assert triton
        with load(front.url, CLIENTS, front.trust) as outcomes:
            time.sleep(1)
            triton.stop(patience_seconds=0)
            time.sleep(3)
        assert failed_before_they_began(outcomes) == []
        for each in outcomes:
            assert each.succeeded or '"code":"unavailable"' in each.text


def test_one_client_cannot_take_everything(front: Front) -> None:
    # Last here: the budget is the address's, which all tests share.
    with front.client() as client:
        statuses = [client.get("/health") for _ in range(120)]
        refused = [each for each in statuses if each.status_code == 429]
        assert refused
        assert refused[0].headers["retry-after"] == "1"
        assert refused[0].json()["code"] == "rate_limited"
        for _ in range(60):
            client.get("/health")
        assert "message" in json.loads(client.get("/v1/models").text)["error"]
