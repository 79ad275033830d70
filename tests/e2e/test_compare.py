"""Comparisons and sweeps, by the real gateway over the real Triton."""

from __future__ import annotations

import secrets
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from launcher.stack import Stack
from tests.e2e.comparing import COMPARE, GREEDY, PROMPT, SCALARS, STEERINGS, SWEEP
from tests.e2e.held_engine import BEGINNING, held_engine, num_open
from tests.e2e.leaving import leave
from tests.e2e.test_gateway import events_of
from tests.e2e.triton_call import call
from tests.e2e.waiting import eventually


def without_reuse(value: Any) -> Any:
    """Leaves out what depends on earlier requests, and the last digits."""
    if isinstance(value, dict):
        return {key: without_reuse(each) for key, each in value.items() if key != "reused_tokens"}
    if isinstance(value, list):
        return [without_reuse(each) for each in value]
    return pytest.approx(value, abs=1e-3) if isinstance(value, float) else value


def test_a_comparison_s_answers_are_those_of_calls_of_their_own(
    api: httpx.Client, stack: Stack
) -> None:
    body = api.post("/api/v1/compare", json=COMPARE).json()
    assert body["success"]
    plain = api.post("/api/v1/generate/baseline", json=GREEDY).json()
    assert body["baseline"]["response"] == plain["response"]
    first, second, third = body["answers"]
    for answer, steered in (
        (first, {"trait": "sarcasm", "scalar": 2.0}),
        (second, {"trait": "flattery", "scalar": -1.5, "positions": "response"}),
    ):
        alone = api.post("/api/v1/generate", json={**GREEDY, **steered}).json()
        for field in ("response", "tokens_generated", "finish_reason", "prompt_tokens"):
            assert answer[field] == alone[field]
    (direct,) = call(
        stack.settings.grpc_address,
        text_input=PROMPT,
        temperature=0.0,
        trait=["sarcasm", "flattery"],
        scalar=[1.0, 1.0],
    )
    assert third["response"] == direct["text_output"]
    assert [answer["index"] for answer in body["answers"]] == [1, 2, 3]
    assert [answer["label"] for answer in body["answers"]] == [
        "sarcasm +2",
        "blunt",
        "sarcasm +1, flattery +1",
    ]
    assert len({answer["response"] for answer in [body["baseline"], *body["answers"]]}) >= 3


def test_all_answers_have_one_seed_which_gives_them_again(api: httpx.Client) -> None:
    same = {"traits": [{"name": "sarcasm", "scalar": 0.0}]}
    body = {"prompt": PROMPT, "temperature": 1.5, "steerings": [same, same]}
    first = api.post("/api/v1/compare", json=body).json()
    texts = {answer["response"] for answer in [first["baseline"], *first["answers"]]}
    assert len(texts) == 1
    again = api.post("/api/v1/compare", json={**body, "seed": first["seed"]}).json()
    assert again["baseline"]["response"] in texts
    assert again["seed"] == first["seed"]


@pytest.mark.parametrize(("path", "body"), [("compare", COMPARE), ("sweep", SWEEP)])
def test_a_stream_ends_with_the_answers_that_its_pieces_join_to(
    api: httpx.Client, path: str, body: dict[str, Any]
) -> None:
    whole = api.post(f"/api/v1/{path}", json={**body, "seed": 3}).json()
    expected = [*([whole["baseline"]] if "baseline" in whole else []), *whole["answers"]]
    streamed = {**body, "seed": 3, "stream": True}
    with api.stream("POST", f"/api/v1/{path}", json=streamed) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        events = list(events_of(response))
    texts = {answer["index"]: "" for answer in expected}
    answers = {}
    for name, data in events[:-1]:
        if name == "chunk":
            assert data["index"] not in answers
            texts[data["index"]] += data["text"]
        else:
            answers[data["index"]] = data
    assert texts == {index: answer["response"] for index, answer in answers.items()}
    for answer in expected:
        assert answers[answer["index"]] == without_reuse(answer) | {
            "reused_tokens": answers[answer["index"]]["reused_tokens"]
        }
    name, end = events[-1]
    assert (name, end["success"], end["seed"], end["failed"]) == ("done", True, 3, 0)
    assert end["vectors"]


def test_answers_are_computed_together(api: httpx.Client, stack: Stack) -> None:
    begun: set[int] = set()
    ended: set[int] = set()
    body = {**SWEEP, "min_tokens": 20, "max_tokens": 20, "stream": True}

    def read() -> None:
        with api.stream("POST", "/api/v1/sweep", json=body) as response:
            for name, data in events_of(response):
                if name != "done":
                    (begun if name == "chunk" else ended).add(data["index"])

    with ThreadPoolExecutor(1) as pool:
        with held_engine(stack.triton) as engine:
            reading = pool.submit(read)
            assert eventually(lambda: num_open(stack.settings.grpc_address) == len(SCALARS))
            engine.steps(2 * BEGINNING)
            # Each begins before any of them ends.
            assert eventually(lambda: begun == set(range(len(SCALARS))))
            assert not ended
        reading.result()
    assert ended == begun


def test_response_steering_shares_the_prompt_s_computation(api: httpx.Client) -> None:
    prompt = f"Explain how rivers shape valleys, please. {secrets.token_hex(4)}"
    body = {**SWEEP, "prompt": prompt, "positions": "response", "scores": False}
    answers = api.post("/api/v1/sweep", json=body).json()["answers"]
    reused = sorted(answer["reused_tokens"] for answer in answers)
    assert reused[1:] == [answers[0]["prompt_tokens"] - 1] * (len(SCALARS) - 1)


def test_the_scores_of_a_sweep_rise_with_the_scalar(api: httpx.Client) -> None:
    body = api.post("/api/v1/sweep", json=SWEEP).json()
    scores = [answer["score"] for answer in body["answers"]]
    assert scores == sorted(scores)
    assert scores[0] < 0 < scores[-1]
    assert [answer["scalar"] for answer in body["answers"]] == SCALARS
    assert body["answers"][-1]["readouts"] == {"sarcasm": {"1": pytest.approx(scores[-1])}}
    without = api.post("/api/v1/sweep", json={**SWEEP, "scores": False}).json()["answers"]
    assert [answer["response"] for answer in without] == [
        answer["response"] for answer in body["answers"]
    ]
    assert {answer["score"] for answer in without} == {None}


@pytest.mark.parametrize(
    ("change", "status", "says"),
    [
        ({"traits": [{"name": "rudeness", "scalar": 1}]}, 400, "steerings.1: unknown trait"),
        ({"traits": STEERINGS[0]["traits"], "layers": [99]}, 400, "steerings.1: the vector of"),
        ({"traits": [{"name": "sarcasm", "scalar": 1e38}]}, 400, "steerings.1: the scalar"),
        ({"traits": [{"name": "sarcasm", "scalar": "x"}]}, 422, "steerings.1.traits.0.scalar"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_one_steering_that_is_wrong_refuses_the_call_and_is_named(
    api: httpx.Client, change: dict[str, Any], status: int, says: str, stream: bool
) -> None:
    body = {**COMPARE, "steerings": [STEERINGS[0], change], "stream": stream}
    answer = api.post("/api/v1/compare", json=body)
    assert answer.status_code == status, answer.text
    assert answer.json()["error"].startswith(says)


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_goes_away_stops_all_answers(stack: Stack, stream: bool) -> None:
    body = {**COMPARE, "max_tokens": 900, "min_tokens": 900, "stream": stream}
    leave(stack, "/api/v1/compare", body, running=1 + len(STEERINGS))
