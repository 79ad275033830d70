"""The environment's proxies: passed by on this machine, used elsewhere, and no traceback ever."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import httpx
import pytest

from persona_client import AsyncPersonaClient, PersonaClient
from persona_client.errors import ConnectionFailedError, PersonaError
from persona_client.proxies import direct_transport
from persona_research.definitions import TraitDefinition
from persona_research.judges import JudgeError
from persona_research.judges.endpoint import OpenAIJudge
from tests.unit.research.judge_endpoint import endpoint, says

TRAIT = TraitDefinition("t", "d", ("a",), ("b",), ("c",))
ELSEWHERE = "http://persona.example:8000"
UNUSABLE = [
    "socks://127.0.0.1:1080",
    "socks4://127.0.0.1:1080",
    "http://a:port",
    "ftp://a:s3cret@b",
]
VARIABLES = ("all_proxy", "http_proxy", "https_proxy", "no_proxy")


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def without_socks(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where only httpx is installed."""
    monkeypatch.setitem(sys.modules, "socksio", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)


@pytest.mark.parametrize("proxy", [*UNUSABLE, "socks5://127.0.0.1:1080"])
@pytest.mark.parametrize("url", ["http://localhost:8000", "http://127.0.0.2:1", "http://[::1]:80"])
@pytest.mark.usefixtures("without_socks")
def test_this_machine_needs_no_proxy(monkeypatch: pytest.MonkeyPatch, proxy: str, url: str) -> None:
    monkeypatch.setenv("ALL_PROXY", proxy)
    PersonaClient(url).close()
    AsyncPersonaClient(url)


@pytest.mark.usefixtures("without_socks")
def test_what_no_proxy_names_needs_none_either(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:1080")
    monkeypatch.setenv("NO_PROXY", "other.example,persona.example")
    PersonaClient(ELSEWHERE).close()


@pytest.mark.parametrize("variable", ["ALL_PROXY", "https_proxy"])
@pytest.mark.parametrize("proxy", [*UNUSABLE, "socks5://u:s3cret@127.0.0.1:1080"])
@pytest.mark.usefixtures("without_socks")
def test_a_proxy_that_cannot_be_used_is_an_error_that_names_its_variable(
    monkeypatch: pytest.MonkeyPatch, proxy: str, variable: str
) -> None:
    monkeypatch.setenv(variable, proxy)
    for make in (PersonaClient, AsyncPersonaClient):
        with pytest.raises(ConnectionFailedError, match=f"{variable.upper()} cannot be") as raised:
            make(ELSEWHERE)
        assert "s3cret" not in str(raised.value)
    with pytest.raises(JudgeError, match=f"{variable.upper()} cannot be used"):
        OpenAIJudge("m", base_url=f"{ELSEWHERE}/v1").scores(TRAIT, ["q"], ["a"])


def test_a_usable_proxy_is_left_to_httpx(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "proxy.example:3128")
    assert direct_transport(httpx.HTTPTransport, ELSEWHERE) is None


class Proxy(BaseHTTPRequestHandler):
    """Answers whatever it is asked to fetch, by saying what that was."""

    def do_GET(self) -> None:
        self.send_error(418, self.path)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def proxy() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Proxy) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def test_a_server_elsewhere_is_called_through_the_proxy(
    monkeypatch: pytest.MonkeyPatch, proxy: str
) -> None:
    monkeypatch.setenv("HTTP_PROXY", proxy)
    with PersonaClient(ELSEWHERE, retries=0) as client, pytest.raises(PersonaError, match="418"):
        client.status()


def test_a_judge_on_this_machine_is_asked_without_the_proxy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks://127.0.0.1:1080")
    with endpoint(lambda number, body: says("70")) as server:
        assert OpenAIJudge("m", base_url=server.url).scores(TRAIT, ["q"], ["a"]) == [70.0]


def test_the_command_says_it_in_one_line() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "persona_client.cli", "status", "--url", ELSEWHERE],
        env={"ALL_PROXY": "socks://127.0.0.1:1080"},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert done.stderr.startswith("error: the proxy of ALL_PROXY cannot be used: it begins with")
