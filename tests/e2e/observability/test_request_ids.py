"""A client's id is in the lines of the gateway and the engine."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import httpx

from launcher.stack import Stack
from tests.e2e.held_engine import BEGINNING, held_engine, num_cancelled, num_open
from tests.e2e.observability.observed_gateway import (
    GENERATE,
    LONG,
    SECRET,
    STEERED,
    Running,
    in_engine,
    open_request,
)
from tests.e2e.waiting import eventually


def engine_lines(stack: Stack, request_id: str) -> list[str]:
    assert stack.triton
    lines = stack.triton.output.splitlines()
    return [line for line in lines if request_id in line]


def test_a_client_s_id_is_in_the_lines_of_the_gateway_and_the_engine(
    gateway: Running, api: httpx.Client, stack: Stack
) -> None:
    answer = api.post(GENERATE, json=STEERED, headers={"X-Request-ID": "paid-order"})
    assert answer.headers["X-Request-ID"] == "paid-order"
    # It is written when the answer has been sent.
    assert eventually(lambda: bool(gateway.lines(message="request", request_id="paid-order")))
    (line,) = gateway.lines(message="request", request_id="paid-order")
    body = answer.json()
    assert (line["status"], line["outcome"], line["route"]) == (200, "ok", GENERATE)
    assert (line["tokens"], line["prompt_tokens"]) == (
        body["tokens_generated"],
        body["prompt_tokens"],
    )
    assert line["steering"] == {"sarcasm": 2.0}
    phases = [line[f"engine_{phase}_ms"] for phase in ("queue", "prefill", "decode")]
    assert 0 < sum(phases) <= line["ms"]
    assert len(line["trace_id"]) == 32

    refused = api.post(
        GENERATE, json={**STEERED, "trait": "rudeness"}, headers={"X-Request-ID": "refused-order"}
    )
    assert refused.json()["request_id"] == "refused-order"
    assert eventually(lambda: bool(engine_lines(stack, "refused-order/")))
    (said,) = engine_lines(stack, "refused-order/")
    assert "a request was refused" in said
    assert "not_found" in said

    with held_engine(stack.triton) as engine:
        with open_request(gateway, LONG, "left-order"):
            engine.steps(BEGINNING)
        assert engine.goes_on_until(lambda: bool(engine_lines(stack, "left-order/")))
    assert eventually(lambda: bool(gateway.lines(request_id="left-order", outcome="cancelled")))
    (said,) = engine_lines(stack, "left-order/")
    assert "a request was cancelled" in said
    (line,) = gateway.lines(message="request", request_id="left-order")
    assert line["triton_id"] in said

    assert stack.triton
    for process in (gateway.process, stack.triton):
        assert SECRET not in process.output


def test_two_clients_with_one_id_do_not_end_each_other(
    gateway: Running, api: httpx.Client, stack: Stack
) -> None:
    headers = {"X-Request-ID": "the-same"}
    body = {**LONG, "max_tokens": 300, "min_tokens": 300}
    address = stack.settings.grpc_address
    before = num_cancelled(address)
    with ThreadPoolExecutor(1) as pool:
        with held_engine(stack.triton) as engine:
            with open_request(gateway, LONG, "the-same"):
                stays = pool.submit(api.post, f"{GENERATE}/baseline", json=body, headers=headers)
                assert eventually(lambda: num_open(address) == 2)
                engine.steps(BEGINNING)
            assert engine.goes_on_until(lambda: num_cancelled(address) == before + 1, 250)
        answer = stays.result()
    assert (answer.status_code, answer.json()["tokens_generated"]) == (200, 300)
    assert eventually(lambda: in_engine(stack) == 0)
    assert len(engine_lines(stack, "the-same/")) == 1  # the one that was cancelled
