"""The images' commands under the images' conditions; only the bases are not tried."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from tritonclient.utils import InferenceServerException

from benchmarks.soak.processes import descendants
from launcher.loopback import free_ports
from tests.e2e.conftest import ONE_THREAD, START_SECONDS
from tests.e2e.containers import USER, comes_up, container, terminate
from tests.e2e.gateways import is_ready, refuses
from tests.e2e.held_engine import BEGINNING, held_engine, stubs_of
from tests.e2e.triton_call import Call, call, describe
from tests.e2e.waiting import eventually
from triton_models.settings import DATA_ROOT

DEMO = {**ONE_THREAD, "MODEL_NAME": "", "DEVICE": "cpu", "TRITON_HOST": "127.0.0.1"}

pytestmark = pytest.mark.skipif(shutil.which("bwrap") is None, reason="bubblewrap is not installed")


@dataclass(frozen=True, slots=True)
class Ports:
    """Where an image's servers listen."""

    http: int
    grpc: int
    metrics: int
    status: int
    gateway: int

    @property
    def variables(self) -> dict[str, str]:
        return {
            "TRITON_HTTP_PORT": str(self.http),
            "TRITON_GRPC_PORT": str(self.grpc),
            "TRITON_METRICS_PORT": str(self.metrics),
            "STATUS_PORT": str(self.status),
            "STATUS_HOST": "127.0.0.1",
            "PORT": str(self.gateway),
            "HOST": "127.0.0.1",
        }

    def probe(self, path: str) -> int:
        """Returns the status of a probe of the supervisor, 0 if it is not there."""
        try:
            return httpx.get(f"http://127.0.0.1:{self.status}/{path}").status_code
        except httpx.TransportError:
            return 0

    def state(self) -> str:
        return str(httpx.get(f"http://127.0.0.1:{self.status}/status").json()["state"])


@pytest.fixture
def ports() -> Ports:
    return Ports(*free_ports(5))


def refusal(address: str) -> str:
    """Returns why Triton takes no request, or `""` if it does."""
    try:
        call(address, text_input="Hi", max_tokens=1)
    except InferenceServerException as error:
        return str(error.message())
    return ""


def test_the_images_serve_as_a_user_without_rights_on_a_root_that_cannot_be_written(
    tmp_path: Path, ports: Ports
) -> None:
    address = f"127.0.0.1:{ports.grpc}"
    variables = {**DEMO, **ports.variables, "TRITON_HTTP": "true"}
    with container("triton", tmp_path / "triton", DATA_ROOT, **variables) as triton:
        up = comes_up(triton, lambda: ports.probe("ready") == 200, START_SECONDS)
        assert up, triton.last_lines(40)
        for process in descendants(triton.pid):
            status = Path(f"/proc/{process.pid}/status").read_text()
            if "bwrap" not in status.splitlines()[0] and os.geteuid() == 0:
                assert f"\nUid:\t{USER}\t{USER}\t{USER}\t{USER}\n" in status
        (steered,) = call(
            address, text_input="Hello!", trait="sarcasm", scalar=2.0, temperature=0.0
        )
        (plain,) = call(address, text_input="Hello!", temperature=0.0)
        assert steered["text_output"] != plain["text_output"]
        unload = f"http://127.0.0.1:{ports.http}/v2/repository/models/persona/unload"
        assert httpx.post(unload, json={}).status_code == 403
        assert "TRITON_CACHE_DIR" not in triton.output  # it can be written

        variables = {**ports.variables, "TRITON_URL": address, "MODEL_NAME": ""}
        with container("gateway", tmp_path / "gateway", DATA_ROOT, **variables) as gateway:
            url = f"http://127.0.0.1:{ports.gateway}"
            assert comes_up(gateway, lambda: is_ready(url), START_SECONDS), gateway.last_lines(40)
            body = {"prompt": "Hello!", "trait": "sarcasm", "scalar": 2.0, "temperature": 0.0}
            answer = httpx.post(f"{url}/api/v1/generate", json=body, timeout=60)
            assert answer.json()["response"] == steered["text_output"]

        # SIGTERM: what runs is answered to its end.
        long = {"text_input": "Hello!", "max_tokens": 100, "min_tokens": 100, "stream": True}
        with ThreadPoolExecutor(1) as pool:
            with held_engine(triton) as engine:
                answer_ = pool.submit(lambda: list(Call(address, "persona", long).responses()))
                engine.steps(BEGINNING)
                terminate(triton)
                assert eventually(lambda: ports.state() == "draining")
                assert eventually(lambda: "no available versions" in refusal(address))
                assert (ports.probe("ready"), ports.probe("live")) == (503, 200)
                assert not answer_.done()
            *_, last = answer_.result()
        assert (last["finish_reason"], last["num_output_tokens"]) == ("length", 100)
        assert eventually(lambda: not triton.running)
        assert triton.exit_status == 0, triton.last_lines(40)


def test_a_model_that_is_busy_stays_ready_and_one_that_is_dead_comes_back(
    tmp_path: Path, ports: Ports
) -> None:
    address = f"127.0.0.1:{ports.grpc}"
    variables = {**DEMO, **ports.variables, "MAX_BATCH_ROWS": "1", "MAX_WAITING": "0"}
    with container("triton", tmp_path / "triton", DATA_ROOT, **variables) as triton:
        up = comes_up(triton, lambda: ports.probe("ready") == 200, START_SECONDS)
        assert up, triton.last_lines(40)
        (stub,) = stubs_of(triton, "steered_qwen")
        with held_engine(triton):
            busy = Call(address, "persona", {"text_input": "Hi", "max_tokens": 9, "stream": True})
            assert eventually(lambda: describe(address)["engine"]["running"] == 1)
            (refused,) = call(address, text_input="Hi", max_tokens=1)
            assert refused["error_code"] == "resource_exhausted"
            assert ports.probe("ready") == 200
            busy.close()
            os.kill(stub, signal.SIGKILL)
        assert eventually(lambda: triton.output.count("Triton serves after") == 2)
        (again,) = stubs_of(triton, "steered_qwen")
        assert again != stub
        assert call(address, text_input="Hi", max_tokens=1)[0]["finish_reason"] == "length"


def test_a_pod_serves_whom_it_knows_and_loses_no_answer_when_it_stops(
    tmp_path: Path, ports: Ports
) -> None:
    key = "persona_" + "k" * 40
    entry = {"name": "a", "role": "user", "sha256": hashlib.sha256(key.encode()).hexdigest()}
    variables = {**DEMO, **ports.variables, "API_KEYS": json.dumps([entry])}
    with container("pod", tmp_path / "pod", DATA_ROOT, **variables) as pod:
        url = f"http://127.0.0.1:{ports.gateway}"
        assert comes_up(pod, lambda: is_ready(url), START_SECONDS), pod.last_lines(40)
        body = {"prompt": "Hi", "max_tokens": 100, "min_tokens": 100, "stream": True}
        path = f"{url}/api/v1/generate/baseline"
        assert httpx.post(path, json=body).status_code == 401
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
        assert pod.last_lines().startswith("serve: set API_KEYS")


def test_a_triton_that_everybody_may_use_is_not_started_by_mistake(tmp_path: Path) -> None:
    with container("triton", tmp_path / "triton", DATA_ROOT, MODEL_NAME="") as triton:
        assert eventually(lambda: not triton.running)
        assert "\nserve: Triton would generate for anyone" in f"\n{triton.output}"
        assert "set TRITON_ACCESS_KEY" in triton.last_lines()
