"""A Triton that infers only for those who know a secret: who is let in, and who is not."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc import service_pb2_grpc

from launcher.loopback import loopback_settings
from launcher.processes import SHARED_MEMORY, RunRecord, group_members
from launcher.stack import Stack
from persona_client import NotAllowedError, PersonaClient
from persona_client.triton import TritonPersonaClient
from tests.e2e.conftest import ONE_THREAD, START_SECONDS
from triton_models import control
from triton_models.contract import tensors

KEY = "the-secret-of-those-who-may-infer"
PROMPT = {"text_input": "Hi", "max_tokens": 1}
PATHS = [
    "models/persona/generate",
    "models/persona/generate_stream",
    "models/persona/infer",
    "models/persona/versions/1/infer",
    "models/tokenizer/infer",
    "models/steered_qwen/generate_stream",
]

OTHER_USER = 65534
"""The id of a user who owns nothing here."""


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack of its own, whose Triton asks for the secret on both ports."""
    settings = loopback_settings(tmp_path_factory.mktemp("run"), START_SECONDS)
    environment = {**ONE_THREAD, control.ACCESS_VARIABLE: KEY}
    with Stack(settings, environment, say=lambda _: None) as stack:
        yield stack


@pytest.fixture
def triton(guarded: Stack) -> Iterator[Any]:
    """Its Triton as a program on this machine sees it."""
    with grpc.insecure_channel(guarded.settings.grpc_address) as channel:
        yield service_pb2_grpc.GRPCInferenceServiceStub(channel)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example", "Content-Type": "text/plain"},
        {"Host": "rebound.example", "Content-Type": "application/json"},
        {control.ACCESS_HEADER: "x" * 40},
        {control.HEADER: KEY},
    ],
    ids=["web page", "rebound name", "wrong secret", "secret in another place"],
)
def test_nobody_infers_over_http_without_the_secret(
    guarded: Stack, path: str, headers: dict[str, str]
) -> None:
    url = f"{guarded.settings.http_url}/v2/{path}"
    assert httpx.post(url, content=json.dumps(PROMPT), headers=headers).status_code == 403


def test_the_secret_opens_the_http_port(guarded: Stack) -> None:
    url = f"{guarded.settings.http_url}/v2/models/persona/generate"
    answer = httpx.post(url, json=PROMPT, headers={control.ACCESS_HEADER: KEY}, timeout=60)
    assert answer.json()["num_output_tokens"] == 1


@pytest.mark.parametrize("model", tensors.MODELS)
@pytest.mark.parametrize("metadata", [(), ((control.ACCESS_GRPC_HEADER, "x" * 40),)])
def test_no_program_infers_over_grpc_without_the_secret(
    triton: Any, model: str, metadata: tuple[tuple[str, str], ...]
) -> None:
    request = pb.ModelInferRequest(model_name=model)
    with pytest.raises(grpc.RpcError, match="This protocol is restricted"):
        triton.ModelInfer(request, metadata=metadata, timeout=60)
    with pytest.raises(grpc.RpcError, match="This protocol is restricted"):
        list(triton.ModelStreamInfer(iter([request]), metadata=metadata, timeout=60))


def test_health_and_metadata_need_no_secret(guarded: Stack, triton: Any) -> None:
    assert triton.ServerReady(pb.ServerReadyRequest()).ready
    assert triton.ModelReady(pb.ModelReadyRequest(name=tensors.PERSONA)).ready
    assert triton.ServerMetadata(pb.ServerMetadataRequest()).version
    assert triton.ModelMetadata(pb.ModelMetadataRequest(name=tensors.PERSONA)).inputs
    assert httpx.get(f"{guarded.settings.http_url}/v2/health/ready").status_code == 200


def test_the_secret_of_inference_opens_no_control(guarded: Stack, triton: Any) -> None:
    for header in (control.ACCESS_GRPC_HEADER, control.GRPC_HEADER):
        with pytest.raises(grpc.RpcError, match="This protocol is restricted"):
            triton.RepositoryIndex(pb.RepositoryIndexRequest(), metadata=((header, KEY),))
    url = f"{guarded.settings.http_url}/v2/repository/index"
    for header in (control.ACCESS_HEADER, control.HEADER):
        assert httpx.post(url, headers={header: KEY}).status_code == 403


def test_the_gateway_and_the_client_that_know_the_secret_are_served(
    guarded: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = guarded.settings.grpc_address
    with PersonaClient(guarded.settings.gateway_url) as gateway:
        expected = gateway.baseline("Hi", max_tokens=4, temperature=0.0).response
    options: dict[str, Any] = {"max_tokens": 4, "temperature": 0.0}
    client = TritonPersonaClient(address, access_key=KEY)
    assert client.generate("Hi", **options).response == expected
    assert client.describe()["traits"]
    with pytest.raises(NotAllowedError, match="set TRITON_ACCESS_KEY"):
        TritonPersonaClient(address, access_key="x" * 40).generate("Hi", **options)
    monkeypatch.delenv(control.ACCESS_VARIABLE, raising=False)
    with pytest.raises(NotAllowedError, match="set TRITON_ACCESS_KEY"):
        list(TritonPersonaClient(address).stream("Hi", **options))
    monkeypatch.setenv(control.ACCESS_VARIABLE, KEY)
    assert TritonPersonaClient(address).generate("Hi", **options).response == expected


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as another user")
def test_another_user_finds_no_secret(guarded: Stack) -> None:
    record = RunRecord.read(guarded.settings.run_folder / "stack.json")
    assert record
    processes = [pid for leader, _ in record.leaders for pid in group_members(leader)]
    shared = list(SHARED_MEMORY.glob(f"{record.shared_memory_prefix}*"))
    assert processes
    assert shared
    for path in (*(Path(f"/proc/{pid}/environ") for pid in processes), *shared):
        assert "Permission denied" in _read_as_another_user(path).stderr
    for pid in processes:
        shown = _read_as_another_user(Path(f"/proc/{pid}/cmdline"))
        assert shown.returncode == 0
        assert KEY not in shown.stdout
        assert guarded.control_key not in shown.stdout
    for log in (guarded.settings.run_folder / "logs").iterdir():
        assert KEY not in log.read_text()


def _read_as_another_user(path: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["cat", path],
        user=OTHER_USER,
        group=OTHER_USER,
        extra_groups=(),
        cwd="/",
        env={"PATH": os.defpath, "LC_ALL": "C"},
        capture_output=True,
        text=True,
    )


def test_another_program_cannot_register_the_models_own_shared_memory(
    guarded: Stack, triton: Any
) -> None:
    record = RunRecord.read(guarded.settings.run_folder / "stack.json")
    assert record
    files = list(SHARED_MEMORY.glob(f"{record.shared_memory_prefix}*"))
    assert files
    for path in files:
        request = pb.SystemSharedMemoryRegisterRequest(name="a", key=f"/{path.name}", byte_size=8)
        for metadata in ((), control.access_metadata(KEY)):
            with pytest.raises(grpc.RpcError, match="This protocol is restricted"):
                triton.SystemSharedMemoryRegister(request, metadata=metadata)


@pytest.mark.parametrize("path", ["models/persona/generate", "models/tokenizer/infer"])
def test_a_request_of_many_chunks_reaches_nothing_that_dies_of_it(
    guarded: Stack, path: str
) -> None:
    # Triton 2.51 ends with signal 11 when it reads a body of so many chunks there: CVE-2025-23310
    # and CVE-2025-23311. Without the secret it does not read one.
    assert guarded.triton
    port = guarded.settings.triton_http_port
    head = (
        f"POST /v2/{path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.sendall(head.encode() + b"1\r\na\r\n" * 600_000 + b"0\r\n\r\n")
        assert connection.recv(1024).startswith(b"HTTP/1.1 403 ")
    assert guarded.triton.running
    client = TritonPersonaClient(guarded.settings.grpc_address, access_key=KEY)
    assert client.generate("Hi", max_tokens=1).tokens_generated == 1
