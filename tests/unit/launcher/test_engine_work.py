"""What Triton's metrics page says of its engines, written by the engine's own adapter."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from launcher.engine_work import EngineWork, parse_description, parse_metrics
from launcher.triton_calls import TritonCalls
from triton_models.adapters.instance import metric_labels
from triton_models.adapters.metrics import counter_samples, gauge_samples
from triton_models.engine.kv_room import KVRoom
from triton_models.engine.statistics import EngineStatistics, StatisticsRecorder

FIRST, SECOND = "steered_qwen_0_0", "steered_qwen_0_1"


def statistics(running: int, waiting: int, steps: int = 0, ended: int = 0) -> EngineStatistics:
    empty = StatisticsRecorder().snapshot(running, waiting, KVRoom(8))
    return replace(empty, steps=steps, finished=ended, cancelled=ended, failed=ended)


def metrics_page(engines: dict[str, EngineStatistics]) -> str:
    """Returns a page with the metrics of some engines, after one of Triton's own."""
    lines = ['nv_inference_count{model="steered_qwen",version="1"} 99']
    for name, values in engines.items():
        shared = metric_labels(
            {"model_name": "steered_qwen", "model_version": "1", "model_instance_name": name}
        )
        for sample in (*gauge_samples(values), *counter_samples(values)):
            labels = sorted({**shared, **dict(sample.labels)}.items())
            text = ",".join(f'{key}="{value}"' for key, value in labels)
            lines += [
                f"# HELP {sample.name} A metric.",
                f"{sample.name}{{{text}}} {sample.value:.15g}",
            ]
    return "\n".join(lines) + "\n"


PAGE = metrics_page(
    {FIRST: statistics(3, 4, steps=10_000_000, ended=2), SECOND: statistics(1, 0, steps=5)}
)

OK = "HTTP/1.0 200 OK\r\n\r\n"


def test_the_engines_of_a_page_are_told_apart() -> None:
    assert parse_metrics(PAGE) == {
        FIRST: EngineWork(num_open=7, progress=10_000_006),
        SECOND: EngineWork(num_open=1, progress=5),
    }


def test_a_page_without_engines_has_none() -> None:
    assert parse_metrics(metrics_page({})) == {}


def test_an_engine_says_the_same_of_itself() -> None:
    described = {"running": 3, "waiting": 4, "steps": 8, "finished": 1, "cancelled": 2, "failed": 3}
    assert parse_description(described) == EngineWork(num_open=7, progress=14)


class Page:
    """A metrics endpoint."""

    def __init__(self) -> None:
        page = self
        self.answer = ""

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.wfile.write(page.answer.encode())

            def log_message(self, *_: object) -> None:
                """Logs nothing."""

        self.server = HTTPServer(("127.0.0.1", 0), Handler)


@pytest.fixture
def page() -> Iterator[Page]:
    page = Page()
    thread = threading.Thread(target=page.server.serve_forever, args=(0.01,))
    thread.start()
    yield page
    page.server.shutdown()
    thread.join()
    page.server.server_close()


@pytest.fixture
def calls(page: Page) -> Iterator[TritonCalls]:
    calls = TritonCalls("127.0.0.1:9", f"http://127.0.0.1:{page.server.server_port}/metrics", "")
    yield calls
    calls.close()


def test_the_open_requests_of_all_engines_are_counted(page: Page, calls: TritonCalls) -> None:
    page.answer = OK + PAGE
    assert calls.count_open() == 8
    page.answer = OK + metrics_page({FIRST: statistics(0, 0), SECOND: statistics(0, 0, steps=9)})
    assert calls.count_open() == 0


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "no HTTP\r\n\r\n",
        "HTTP/1.0 503 Service Unavailable\r\n\r\n",
        OK + PAGE.replace("} 3", "} three"),
    ],
)
def test_metrics_that_cannot_be_read_are_an_error(
    answer: str, page: Page, calls: TritonCalls
) -> None:
    page.answer = answer
    with pytest.raises(OSError, match="the metrics cannot be read"):
        calls.count_open()
