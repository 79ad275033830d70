"""A request's line in the log: its id, what it took, and never its text."""

from __future__ import annotations

import logging
import re

import httpx
import pytest

from gateway.observability.access_log import AccessLog
from tests.unit.gateway.observability.observed import SECRET, record, watch
from triton_models.grpc_messages import TritonChunk


async def test_a_client_s_id_is_part_of_triton_s_and_never_all_of_it(
    http: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="gateway")
    for _ in range(2):
        answer = await http.post(
            "/api/v1/generate/baseline",
            json={"prompt": SECRET},
            headers={"X-Request-ID": "order/66"},
        )
        assert answer.headers["X-Request-ID"] == answer.json()["request_id"] == "order/66"
    lines = [each.__dict__ for each in caplog.records if each.message == "request"]
    assert [line["request_id"] for line in lines] == ["order/66"] * 2
    ids = {line["triton_id"] for line in lines}
    assert len(ids) == 2
    assert all(re.fullmatch(r"order/66/[0-9a-f]{16}", each) for each in ids)


@pytest.mark.parametrize("bad", ["a b", "x" * 129, '"', "back\\slash", "naïve", "tab\tbed", ""])
async def test_an_id_that_logs_would_have_to_escape_is_replaced(
    bad: str, http: httpx.AsyncClient
) -> None:
    header = (b"X-Request-ID", bad.encode("latin-1"))
    answer = await http.get("/health", headers=[header])
    assert re.fullmatch(r"[0-9a-f]{32}", answer.headers["X-Request-ID"])


def test_a_request_s_line_has_what_it_took_and_never_its_text(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG, logger="gateway")
    request = record(path="/" + "p" * 1000)
    request.log_fields["trait"] = "t" * 1000
    generation = watch(
        request=request, trait=["sarcasm"], scalar=[2.0], stream=[True], stop_words=[SECRET]
    )
    generation.began()
    generation.received(TritonChunk(text=SECRET, num_input_tokens=7, num_output_tokens=1))
    generation.received(
        TritonChunk(
            num_output_tokens=2, finish_reason="stop", timings={"queue": 0.001, "prefill": 0.02}
        )
    )
    generation.ended(None)
    request.status, request.seconds = 200, 0.5
    AccessLog().request_ended(request)
    (line,) = [each.__dict__ for each in caplog.records]
    assert (line["status"], line["outcome"], line["ms"]) == (200, "ok", 500.0)
    assert line["steering"] == {"sarcasm": 2.0}
    assert (line["prompt_tokens"], line["tokens"], line["finish_reason"]) == (7, 2, "stop")
    assert (line["engine_queue_ms"], line["engine_prefill_ms"]) == (1.0, 20.0)
    assert line["first_token_ms"] >= 0
    assert SECRET not in str(line)
    assert max(len(line["path"]), len(line["trait"])) < 400


def test_several_generations_are_one_line_with_their_sums(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="gateway")
    request = record()
    for scalar in (-1.0, 1.0):
        generation = watch(request=request, trait=["sarcasm"], scalar=[scalar])
        generation.began()
        generation.received(
            TritonChunk(num_input_tokens=3, num_output_tokens=4, finish_reason="length")
        )
        generation.ended(None)
    request.status = 200
    AccessLog().request_ended(request)
    (line,) = [each.__dict__ for each in caplog.records]
    assert (line["prompt_tokens"], line["tokens"]) == (6, 8)
    assert [each["steering"] for each in line["generations"]] == [{"sarcasm": -1}, {"sarcasm": 1}]
