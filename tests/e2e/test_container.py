"""The images' commands under the images' conditions; only the bases are not tried."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from tritonclient.utils import InferenceServerException

from launcher.loopback import free_ports
from launcher.processes import group_members
from tests.e2e.conftest import ONE_THREAD, START_SECONDS
from tests.e2e.containers import USER, comes_up, container, terminate
from tests.e2e.gateways import is_ready, refuses
from tests.e2e.held_engine import BEGINNING, held_engine, stubs_of
from tests.e2e.triton_call import Call, call, describe
from tests.e2e.waiting import eventually
from triton_models.settings import DATA_ROOT, REPOSITORY_ROOT

HEALTHCHECK = REPOSITORY_ROOT / "deploy" / "container" / "healthcheck.py"
ENTRYPOINT = REPOSITORY_ROOT / "deploy" / "container" / "triton-entrypoint.sh"
DEMO = {**ONE_THREAD, "MODEL_NAME": "", "DEVICE": "cpu"}

pytestmark = pytest.mark.skipif(shutil.which("bwrap") is None, reason="bubblewrap is not installed")


def healthcheck(port: int) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "TRITON_HTTP_PORT": str(port)}
    command = [sys.executable, "-S", str(HEALTHCHECK)]
    return subprocess.run(command, env=environment, capture_output=True, text=True)


def is_healthy(port: int) -> bool:
    return healthcheck(port).returncode == 0


def listening(grpc: int, metrics: int) -> list[str]:
    return [f"--grpc-port={grpc}", f"--metrics-port={metrics}"]


def refusal(address: str) -> str:
    """Returns why Triton takes no request, or `""` if it does."""
    try:
        call(address, text_input="Hi", max_tokens=1)
    except InferenceServerException as error:
        return str(error.message())
    return ""


def test_the_images_serve_as_a_user_without_rights_on_a_root_that_cannot_be_written(
    tmp_path: Path,
) -> None:
    http, grpc, metrics, port = free_ports(4)
    address = f"127.0.0.1:{grpc}"
    with container(
        "triton",
        tmp_path / "triton",
        DATA_ROOT,
        *listening(grpc, metrics),
        TRITON_HTTP_PORT=str(http),
        **DEMO,
    ) as triton:
        assert comes_up(triton, lambda: is_healthy(http), START_SECONDS), triton.last_lines(40)
        for pid in group_members(triton.pid):
            status = Path(f"/proc/{pid}/status").read_text()
            if "bwrap" not in status.splitlines()[0] and os.geteuid() == 0:
                assert f"\nUid:\t{USER}\t{USER}\t{USER}\t{USER}\n" in status
        (steered,) = call(
            address, text_input="Hello!", trait="sarcasm", scalar=2.0, temperature=0.0
        )
        (plain,) = call(address, text_input="Hello!", temperature=0.0)
        assert steered["text_output"] != plain["text_output"]
        unload = f"http://127.0.0.1:{http}/v2/repository/models/persona/unload"
        assert httpx.post(unload, json={}).status_code == 403
        log = triton.output
        assert "TRITON_CONTROL_KEY is not set" in log
        assert "TRITON_CACHE_DIR" not in log  # it can be written

        with container(
            "gateway",
            tmp_path / "gateway",
            DATA_ROOT,
            TRITON_URL=address,
            PORT=str(port),
            HOST="127.0.0.1",
            MODEL_NAME="",
        ) as gateway:
            url = f"http://127.0.0.1:{port}"
            assert comes_up(gateway, lambda: is_ready(url), START_SECONDS), gateway.last_lines(40)
            body = {"prompt": "Hello!", "trait": "sarcasm", "scalar": 2.0, "temperature": 0.0}
            answer = httpx.post(f"{url}/api/v1/generate", json=body, timeout=60)
            assert answer.json()["response"] == steered["text_output"]

        # SIGTERM: what runs is answered to its end. With what status Triton ends then is its own
        # affair: some of its Python processes do not end in time.
        long = {"text_input": "Hello!", "max_tokens": 100, "min_tokens": 100, "stream": True}
        with ThreadPoolExecutor(1) as pool:
            with held_engine(triton) as engine:
                answer_ = pool.submit(lambda: list(Call(address, "persona", long).responses()))
                engine.steps(BEGINNING)
                terminate(triton)
                ready = f"http://127.0.0.1:{http}/v2/models/persona/ready"
                assert eventually(lambda: httpx.get(ready).status_code != 200)
                assert "no available versions" in refusal(address)
                assert not answer_.done()
            *_, last = answer_.result()
        assert (last["finish_reason"], last["num_output_tokens"]) == ("length", 100)
        assert eventually(lambda: not triton.running)


def test_a_model_that_is_dead_or_busy_is_told_apart(tmp_path: Path) -> None:
    http, grpc, metrics = free_ports(3)
    address = f"127.0.0.1:{grpc}"
    settings = {**DEMO, "MAX_BATCH_ROWS": "1", "MAX_WAITING": "0"}
    with container(
        "triton",
        tmp_path / "triton",
        DATA_ROOT,
        *listening(grpc, metrics),
        TRITON_HTTP_PORT=str(http),
        **settings,
    ) as triton:
        assert comes_up(triton, lambda: is_healthy(http), START_SECONDS), triton.last_lines(40)
        (stub,) = stubs_of(triton, "steered_qwen")
        with held_engine(triton):
            busy = Call(address, "persona", {"text_input": "Hi", "max_tokens": 9, "stream": True})
            assert eventually(lambda: describe(address)["engine"]["running"] == 1)
            (refused,) = call(address, text_input="Hi", max_tokens=1)
            assert refused["error_code"] == "resource_exhausted"
            assert is_healthy(http)
            busy.close()
            os.kill(stub, signal.SIGKILL)
        assert eventually(lambda: not is_healthy(http))
        assert "unhealthy: " in healthcheck(http).stderr


def test_a_pod_serves_whom_it_knows_and_loses_no_answer_when_it_stops(tmp_path: Path) -> None:
    http, grpc, metrics, port = free_ports(4)
    key = "persona_" + "k" * 40
    entry = {"name": "a", "role": "user", "sha256": hashlib.sha256(key.encode()).hexdigest()}
    settings = {**DEMO, "TRITON_HTTP_PORT": str(http), "TRITON_URL": f"127.0.0.1:{grpc}"}
    with container(
        "pod",
        tmp_path / "pod",
        DATA_ROOT,
        *listening(grpc, metrics),
        PORT=str(port),
        HOST="127.0.0.1",
        API_KEYS=json.dumps([entry]),
        **settings,
    ) as pod:
        url = f"http://127.0.0.1:{port}"
        assert comes_up(pod, lambda: is_ready(url), START_SECONDS), pod.last_lines(40)
        body = {"prompt": "Hi", "max_tokens": 100, "min_tokens": 100, "stream": True}
        path = f"{url}/api/v1/generate/baseline"
        assert httpx.post(path, json=body).status_code == 401
        # Both servers were given one key.
        (stub,) = stubs_of(pod, "steered_qwen")
        os.kill(stub, signal.SIGKILL)
        assert eventually(lambda: not is_ready(url))
        assert eventually(lambda: is_ready(url)), pod.last_lines(40)
        pieces: list[str] = []

        def read() -> None:
            headers = {"X-API-Key": key}
            with httpx.stream("POST", path, json=body, headers=headers, timeout=60) as response:
                for piece in response.iter_text():
                    pieces.append(piece)  # looked at meanwhile

        with ThreadPoolExecutor(1) as pool:
            with held_engine(pod) as engine:
                reading = pool.submit(read)
                engine.steps(BEGINNING)
                assert eventually(lambda: bool(pieces))
                terminate(pod)
                assert eventually(lambda: refuses(url))
                assert not reading.done()
            reading.result()
        assert '"finish_reason":"length"' in "".join(pieces)
        assert eventually(lambda: not pod.running)
        assert pod.exit_status == 0, pod.last_lines(40)


def test_a_pod_that_everybody_may_use_is_not_started_by_mistake(tmp_path: Path) -> None:
    with container("pod", tmp_path / "pod", DATA_ROOT, MODEL_NAME="") as pod:
        assert eventually(lambda: not pod.running)
        assert pod.last_lines().startswith("error: set API_KEYS")


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({"MODEL_CACHE_DIR": "/nowhere"}, "MODEL_CACHE_DIR is /nowhere, which user"),
        ({"VECTORS_DIR": "/nowhere"}, "VECTORS_DIR is /nowhere, which user"),
    ],
)
def test_what_is_not_mounted_is_said_in_a_line(variables: dict[str, str], says: str) -> None:
    ended = subprocess.run(
        [str(ENTRYPOINT)], env={**os.environ, **variables}, capture_output=True, text=True
    )
    assert ended.returncode == 1
    assert ended.stderr.startswith(f"error: {says}")
