"""Triton's control is its supervisor's: a web page and a program beside it run nothing by it."""

from __future__ import annotations

import base64
import json
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc import service_pb2_grpc

from launcher.processes import SHARED_MEMORY, RunRecord, group_members
from launcher.stack import Stack
from tests.e2e.triton_call import call
from triton_models import control

PAGE = {"Origin": "https://evil.example", "Content-Type": "text/plain"}
"""What a web page's request has that is sent without asking the server first."""

CODE = """
from pathlib import Path

Path({marker!r}).touch()


class TritonPythonModel:
    def execute(self, requests):
        return []
"""


def evil_model(marker: Path) -> dict[str, Any]:
    """Returns what `load` takes to run code that makes a file."""
    config = {
        "backend": "python",
        "max_batch_size": 0,
        "input": [{"name": "a", "data_type": "TYPE_INT32", "dims": [1]}],
        "output": [{"name": "b", "data_type": "TYPE_INT32", "dims": [1]}],
        "instance_group": [{"kind": "KIND_CPU"}],
    }
    return {"config": json.dumps(config), "file:1/model.py": CODE.format(marker=str(marker))}


@pytest.fixture
def triton(stack: Stack) -> Iterator[service_pb2_grpc.GRPCInferenceServiceStub]:
    """Triton as a program on this machine sees it."""
    with grpc.insecure_channel(stack.settings.grpc_address) as channel:
        yield service_pb2_grpc.GRPCInferenceServiceStub(channel)


def test_a_web_page_runs_no_code(stack: Stack, tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    parameters = evil_model(marker)
    code = base64.b64encode(parameters["file:1/model.py"].encode()).decode()
    body = json.dumps({"parameters": {**parameters, "file:1/model.py": code}})
    url = f"{stack.settings.http_url}/v2/repository/models/evil/load"
    answer = httpx.post(url, content=body, headers=PAGE, timeout=60)
    assert not marker.exists()
    assert answer.status_code == 403


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("repository/index", {}),
        ("repository/models/steered_qwen/unload", {}),
        ("systemsharedmemory/region/a/register", {"key": "/a", "offset": 0, "byte_size": 8}),
        ("cudasharedmemory/unregister", {}),
        ("trace/setting", {"trace_file": "/tmp/trace.json"}),
        ("models/persona/trace/setting", {"trace_level": ["TIMESTAMPS"]}),
        ("logging", {"log_verbose_level": 1}),
    ],
)
def test_a_web_page_changes_nothing(stack: Stack, path: str, body: dict[str, Any]) -> None:
    url = f"{stack.settings.http_url}/v2/{path}"
    answer = httpx.post(url, content=json.dumps(body), headers=PAGE)
    assert answer.status_code == 403
    answer = httpx.post(url, content=json.dumps(body), headers={**PAGE, control.HEADER: "x" * 40})
    assert answer.status_code == 403
    assert call(stack.settings.grpc_address, text_input="Hi", max_tokens=1)


CALLS: dict[str, Any] = {
    "RepositoryIndex": pb.RepositoryIndexRequest(),
    "RepositoryModelUnload": pb.RepositoryModelUnloadRequest(model_name="steered_qwen"),
    "SystemSharedMemoryRegister": pb.SystemSharedMemoryRegisterRequest(
        name="a", key="/a", byte_size=8
    ),
    "SystemSharedMemoryStatus": pb.SystemSharedMemoryStatusRequest(),
    "CudaSharedMemoryUnregister": pb.CudaSharedMemoryUnregisterRequest(),
    "TraceSetting": pb.TraceSettingRequest(
        settings={"trace_file": pb.TraceSettingRequest.SettingValue(value=["/tmp/trace.json"])}
    ),
    "LogSettings": pb.LogSettingsRequest(
        settings={"log_verbose_level": pb.LogSettingsRequest.SettingValue(uint32_param=1)}
    ),
}


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("metadata", [(), ((control.GRPC_HEADER, "x" * 40),)])
def test_a_program_without_the_key_changes_nothing(
    stack: Stack, triton: Any, name: str, metadata: tuple[tuple[str, str], ...]
) -> None:
    with pytest.raises(grpc.RpcError, match="This protocol is restricted"):
        getattr(triton, name)(CALLS[name], metadata=metadata)
    assert call(stack.settings.grpc_address, text_input="Hi", max_tokens=1)


def test_a_program_without_the_key_runs_no_code(triton: Any, tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    parameters = evil_model(marker)
    request = pb.RepositoryModelLoadRequest(model_name="evil")
    request.parameters["config"].string_param = parameters["config"]
    request.parameters["file:1/model.py"].bytes_param = parameters["file:1/model.py"].encode()
    with pytest.raises(grpc.RpcError, match="This protocol is restricted"):
        triton.RepositoryModelLoad(request, timeout=60)
    assert not marker.exists()


def test_the_key_opens_both_ports(stack: Stack, triton: Any) -> None:
    key = stack.control_key
    index = triton.RepositoryIndex(
        pb.RepositoryIndexRequest(), metadata=((control.GRPC_HEADER, key),)
    )
    names = {model.name for model in index.models}
    url = f"{stack.settings.http_url}/v2/repository/index"
    answer = httpx.post(url, headers={control.HEADER: key}).json()
    assert {model["name"] for model in answer} == names
    assert {"persona", "steered_qwen"} <= names


def test_the_list_of_processes_does_not_show_the_key(stack: Stack) -> None:
    record = RunRecord.read(stack.settings.run_folder / "stack.json")
    assert record
    assert stack.triton
    assert f"--grpc-port={stack.settings.triton_grpc_port}" in command_line(stack.triton.pid)
    for leader, _ in record.leaders:
        for pid in group_members(leader):
            assert stack.control_key not in command_line(pid)
    for log in (stack.settings.run_folder / "logs").iterdir():
        assert stack.control_key not in log.read_text()


def command_line(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text()


def test_other_users_cannot_read_the_prompts_in_shared_memory(stack: Stack) -> None:
    record = RunRecord.read(stack.settings.run_folder / "stack.json")
    assert record
    files = list(SHARED_MEMORY.glob(f"{record.shared_memory_prefix}*"))
    assert files
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
