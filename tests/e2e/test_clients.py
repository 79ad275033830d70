"""The project's own clients and command line, against the real servers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from launcher.loopback import free_ports
from launcher.stack import Stack
from persona_client import (
    AsyncPersonaClient,
    ConnectionFailedError,
    InvalidRequestError,
    PersonaClient,
    PersonaError,
)
from persona_client.triton import TritonPersonaClient
from tests.e2e.held_engine import BEGINNING, held_engine, num_cancelled
from tests.e2e.waiting import PATIENCE_SECONDS

PROMPT = "How do I bake bread?"


@pytest.fixture(scope="module")
def url(stack: Stack) -> str:
    return stack.settings.gateway_url


def persona(url: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "persona_client.cli", *arguments, "--url", url],
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_the_sync_client_generates_and_streams_the_same(url: str) -> None:
    with PersonaClient(url) as client:
        whole = client.generate(PROMPT, trait="sarcasm", scalar=2.0, temperature=0.0)
        with client.stream(PROMPT, trait="sarcasm", scalar=2.0, temperature=0.0) as stream:
            text = "".join(chunk.text for chunk in stream)
        assert text == whole.response == stream.completion.response
        assert client.baseline(PROMPT, temperature=0.0).response != text
        assert client.status().ready
        assert client.trait("sarcasm") == client.traits()["sarcasm"]


async def test_the_async_client_generates_and_streams_the_same(url: str) -> None:
    async with AsyncPersonaClient(url) as client:
        whole = await client.generate(PROMPT, trait="flattery", scalar=-1.0, temperature=0.0)
        async with client.stream(PROMPT, trait="flattery", scalar=-1.0, temperature=0.0) as stream:
            text = "".join([chunk.text async for chunk in stream])
        assert text == whole.response
        assert (await client.status()).ready
        assert "sarcasm" in await client.traits()


def test_the_triton_client_gives_what_the_gateway_gives(stack: Stack, url: str) -> None:
    triton = TritonPersonaClient(stack.settings.grpc_address)
    with PersonaClient(url) as gateway:
        expected = gateway.generate(PROMPT, trait="sarcasm", scalar=1.0, temperature=0.0).response
    assert triton.generate(PROMPT, traits={"sarcasm": 1.0}, temperature=0.0).response == expected
    chunks = triton.stream(PROMPT, traits={"sarcasm": 1.0}, temperature=0.0)
    assert "".join(chunk.text for chunk in chunks) == expected


def test_leaving_a_triton_stream_stops_the_generation(stack: Stack) -> None:
    address = stack.settings.grpc_address
    before = num_cancelled(address)
    chunks = TritonPersonaClient(address).stream(PROMPT, max_tokens=900, min_tokens=900)
    with ThreadPoolExecutor(1) as pool, held_engine(stack.triton) as engine:
        begun = pool.submit(next, chunks)
        engine.steps(BEGINNING)
        begun.result()
        chunks.close()
        assert engine.goes_on_until(lambda: num_cancelled(address) == before + 1)


def test_errors_are_exceptions_with_the_server_s_message(stack: Stack, url: str) -> None:
    with PersonaClient(url) as client, pytest.raises(PersonaError, match="the traits are"):
        client.generate(PROMPT, trait="rudeness", scalar=1.0)
    triton = TritonPersonaClient(stack.settings.grpc_address)
    with pytest.raises(InvalidRequestError, match="the traits are"):
        triton.generate(PROMPT, traits={"rudeness": 1.0})
    with pytest.raises(PersonaError, match="temperature is 9"):
        triton.generate(PROMPT, temperature=9.0)


def test_a_server_that_is_not_there_is_named() -> None:
    nowhere = f"127.0.0.1:{free_ports(1)[0]}"
    with PersonaClient(f"http://{nowhere}") as client, pytest.raises(ConnectionFailedError):
        client.status()
    with pytest.raises(PersonaError):
        TritonPersonaClient(nowhere, timeout=5).generate(PROMPT)


def test_the_command_line_generates_compares_and_lists(url: str) -> None:
    with PersonaClient(url) as client:
        steered = client.generate(PROMPT, trait="sarcasm", scalar=2.0, temperature=0.0).response
    options = ("--trait", "sarcasm", "--temperature", "0")
    generated = persona(url, "generate", PROMPT, *options, "--scalar", "2")
    assert (generated.returncode, generated.stdout) == (0, steered + "\n")
    compared = persona(url, "compare", PROMPT, *options, "--scalars", "-2,2", "--json")
    assert [each["traits"]["sarcasm"] for each in json.loads(compared.stdout)] == [-2.0, 2.0]
    assert json.loads(compared.stdout)[1]["response"] == steered
    assert "hallucination" in persona(url, "traits").stdout
    assert "persona-demo" in persona(url, "status").stdout


def test_the_command_line_shows_readouts_and_probabilities_below_the_text(url: str) -> None:
    with PersonaClient(url) as client:
        text = client.baseline(PROMPT, temperature=0.0, max_tokens=5).response
    options = ("--temperature", "0", "--max-tokens", "5", "--monitor", "sarcasm", "--logprobs", "1")
    shown = persona(url, "generate", PROMPT, *options)
    assert shown.returncode == 0
    assert shown.stdout.startswith(text + "\n\ntoken")
    assert shown.stdout.count("%") == 2 * 5  # the token's, and the likeliest one's
    read = [line.split()[0] for line in shown.stdout.splitlines()[-3:]]
    assert read == ["sarcasm", "percentile", "pole"]
    whole = json.loads(persona(url, "generate", PROMPT, *options, "--json").stdout)
    assert (len(whole["logprobs"]), list(whole["readouts"])) == (5, ["sarcasm"])


def test_the_command_line_fails_with_one_line(url: str) -> None:
    unknown = persona(url, "generate", PROMPT, "--trait", "rudeness", "--scalar", "1")
    assert unknown.returncode == 1
    assert unknown.stderr.count("\n") == 1
    assert "the traits are" in unknown.stderr
    nowhere = persona(f"http://127.0.0.1:{free_ports(1)[0]}", "status")
    assert nowhere.returncode == 1
    assert nowhere.stderr.count("\n") == 1
    assert "serve.sh" in nowhere.stderr


def test_ctrl_c_stops_the_generation(stack: Stack, url: str) -> None:
    address = stack.settings.grpc_address
    arguments = ["generate", PROMPT, "--max-tokens", "900", "--stop", "never said", "--url", url]
    before = num_cancelled(address)
    with held_engine(stack.triton) as engine:
        process = subprocess.Popen(
            [sys.executable, "-m", "persona_client.cli", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stdout
        engine.steps(BEGINNING)
        process.stdout.read(1)
        os.kill(process.pid, signal.SIGINT)
        assert engine.goes_on_until(lambda: num_cancelled(address) == before + 1)
    _, errors = process.communicate(timeout=PATIENCE_SECONDS)
    assert "Traceback" not in errors


def test_closing_a_stream_of_the_sync_client_stops_the_generation(stack: Stack, url: str) -> None:
    address = stack.settings.grpc_address
    before = num_cancelled(address)
    with (
        PersonaClient(url) as client,
        ThreadPoolExecutor(1) as pool,
        held_engine(stack.triton) as engine,
    ):
        stream = client.stream(PROMPT, max_tokens=900, min_tokens=900)
        pieces = iter(stream)  # to be kept: the call ends with it
        begun = pool.submit(next, pieces)
        engine.steps(BEGINNING)
        begun.result()
        stream.close()
        assert engine.goes_on_until(lambda: num_cancelled(address) == before + 1)
