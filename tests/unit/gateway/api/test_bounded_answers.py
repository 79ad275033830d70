"""Calls that bound traits: what they ask the model for, what they answer, what they refuse."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.unit.gateway.protection_gateway import Server, running

ABLATION = {"operations": [{"trait": "flattery", "kind": "ablate"}]}
CAP = {"trait": "sarcasm", "kind": "cap", "unit": "percentile"}


@pytest.fixture
async def server(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Server]:
    async with running(monkeypatch, host="127.0.0.1") as server:
        yield server


def documents(server: Server) -> list[Any]:
    """Returns the full form of each request that came to the model."""
    return [json.loads(each["steering"][0]) for each in server.asked]


@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_repeats_the_steering_of_its_request(server: Server, stream: bool) -> None:
    steering = {**ABLATION, "traits": [{"name": "sarcasm", "scalar": 1.0}], "window": {"from": 2}}
    body = {"prompt": "hi", "steering": steering, "stream": stream}
    response = await server.http.post("/api/v1/generate", json=body)
    answer = json.loads(response.text.rpartition("data: ")[2]) if stream else response.json()
    assert answer["steering"] == {**steering, "layers": None, "positions": None}
    assert (answer["trait"], answer["scalar"]) == (None, 0.0)
    plain = {"prompt": "hi", "trait": "sarcasm", "scalar": 1}
    assert "steering" not in (await server.http.post("/api/v1/generate", json=plain)).json()


async def test_a_condition_and_a_window_are_for_the_short_form_as_well(server: Server) -> None:
    where = {"when": {"trait": "flattery", "above": 1.0}, "window": {"from": 1, "to": 3}}
    body = {"prompt": "hi", "trait": "sarcasm", "scalar": 1, "steering": where}
    assert (await server.http.post("/api/v1/generate", json=body)).status_code == 200
    assert documents(server) == [where]
    assert server.asked[0]["trait"] == ["sarcasm"]


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({}, "trait: Field required: give a trait, or steering"),
        ({"trait": "sarcasm"}, "scalar: Field required"),
        ({"scalar": 1, "steering": ABLATION}, "scalar: it is a trait's"),
        ({"layers": [1], "steering": ABLATION}, "layers: it is of what trait and scalar say"),
        ({"positions": "all", "steering": ABLATION}, "give positions within steering"),
        ({"steering": {}}, "trait: there is nothing to steer by"),
        ({"steering": {**ABLATION, "while": {}}}, "steering.while"),
        ({"steering": {"operations": [{"trait": "a", "kind": "clip"}]}}, "operations.0.kind"),
        ({"steering": {**ABLATION, "window": {"from": True}}}, "steering.window.from"),
        ({"steering": {**ABLATION, "window": {"from": 3, "to": 2}}}, "steering.window has from"),
        ({"steering": {**ABLATION, "when": {"trait": "", "above": 1}}}, "steering.when.trait"),
        ({"trait": "sarcasm", "scalar": 1, "steering": {"traits": 1}}, "steering.traits"),
    ],
)
async def test_a_steering_that_is_wrong_is_refused_by_its_place(
    server: Server, body: dict[str, Any], says: str
) -> None:
    response = await server.http.post("/api/v1/generate", json={"prompt": "hi", **body})
    assert response.status_code == 422
    assert says in response.json()["error"]
    assert server.asked == []


async def test_each_answer_of_a_comparison_has_bounds_of_its_own(server: Server) -> None:
    steerings = [ABLATION, {"operations": [{**CAP, "value": 90.0}], "label": "capped"}]
    body = {"prompt": "hi", "baseline": False, "steerings": steerings}
    answers = (await server.http.post("/api/v1/compare", json=body)).json()["answers"]
    assert [each["label"] for each in answers] == ["ablate flattery", "capped"]
    assert answers[0]["steering"]["operations"] == ABLATION["operations"]
    assert documents(server) == [ABLATION, {"operations": [{**CAP, "value": 90.0}]}]


async def test_a_sweep_tries_the_values_of_an_operation(server: Server) -> None:
    body = {
        "prompt": "hi",
        "operation": CAP,
        "values": [0, 50.5],
        "steering": {"traits": [{"name": "sarcasm", "scalar": 2}], **ABLATION},
        "scores": True,
    }
    sweep = (await server.http.post("/api/v1/sweep", json=body)).json()
    assert [(each["scalar"], each["value"]) for each in sweep["answers"]] == [
        (None, 0.0),
        (None, 50.5),
    ]
    assert (sweep["trait"], sweep["operation"]) == ("sarcasm", CAP)
    assert documents(server) == [
        {"operations": [*ABLATION["operations"], {**CAP, "value": value}]} for value in (0.0, 50.5)
    ]
    assert [each["trait"] for each in server.asked] == [["sarcasm"]] * 2
    assert [each["monitor"] for each in server.asked] == [["sarcasm"]] * 2


async def test_all_scalars_of_a_sweep_go_with_its_steering(server: Server) -> None:
    body = {"prompt": "hi", "trait": "sarcasm", "scalars": [0, 1], "steering": ABLATION}
    sweep = (await server.http.post("/api/v1/sweep", json=body)).json()
    assert [each["scalar"] for each in sweep["answers"]] == [0.0, 1.0]
    assert "value" not in sweep["answers"][0]
    assert documents(server) == [ABLATION, ABLATION]


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        ({}, 422, "trait: Field required: give trait and scalars, or operation and values"),
        ({"operation": CAP}, 422, "values: Field required"),
        ({"values": [1]}, 422, "values: they are an operation's"),
        ({"operation": CAP, "values": [1], "trait": "sarcasm"}, 422, "leave trait out"),
        ({"operation": CAP, "values": [1], "layers": [1]}, 422, "leave layers out"),
        ({"operation": {**CAP, "kind": "ablate"}, "values": [1]}, 422, "operation.kind"),
        ({"operation": {**CAP, "value": 1}, "values": [1]}, 422, "operation.value"),
        ({"operation": CAP, "values": [1, 101]}, 422, "values.1: steering.operations[0].value"),
        ({"operation": {**CAP, "trait": "rude"}, "values": [1]}, 400, "unknown trait 'rude'"),
    ],
)
async def test_a_sweep_that_is_wrong_is_refused_by_its_place(
    server: Server, body: dict[str, Any], status: int, says: str
) -> None:
    response = await server.http.post("/api/v1/sweep", json={"prompt": "hi", **body})
    assert response.status_code == status, response.text
    assert says in response.json()["error"]


@pytest.mark.parametrize("place", ["operations", "when"])
async def test_an_unknown_trait_is_named_wherever_it_stands(server: Server, place: str) -> None:
    steering: dict[str, Any] = {**ABLATION, "when": {"trait": "rude", "above": 1}}
    if place == "operations":
        steering = {"operations": [{"trait": "rude", "kind": "ablate"}]}
    body = {"prompt": "hi", "steerings": [ABLATION, steering]}
    response = await server.http.post("/api/v1/compare", json=body)
    assert response.status_code == 400
    assert response.json()["error"].startswith("steerings.1: unknown trait 'rude'")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("chat/completions", {"messages": [{"role": "user", "content": "hi"}]}),
        ("completions", {"prompt": "hi"}),
        ("responses", {"input": "hi"}),
    ],
)
async def test_openais_calls_take_it_as_it_is(
    server: Server, path: str, body: dict[str, Any]
) -> None:
    trait = {"name": "flattery", "scalar": 1.0, "layers": [2]}
    steering = {"layers": [1], "traits": [trait, {"name": "sarcasm", "scalar": 1.0}], **ABLATION}
    asks = {"model": "persona", **body, "steering": {**steering, "when": None}}
    response = await server.http.post(f"/v1/{path}", json=asks)
    assert response.status_code == 200, response.text
    named = {**asks, "model": "persona:sarcasm=1", "steering": {**ABLATION, "layers": [1]}}
    assert (await server.http.post(f"/v1/{path}", json=named)).status_code == 200
    assert documents(server) == [
        {**ABLATION, "traits": [trait, {"name": "sarcasm", "scalar": 1.0, "layers": [1]}]},
        ABLATION,
    ]
    assert server.asked[1]["layers"] == [1]
    wrong = {**asks, "steering": {"operations": [{"trait": "sarcasm", "kind": "cap"}]}}
    error = (await server.http.post(f"/v1/{path}", json=wrong)).json()["error"]
    assert error["param"] == "steering.operations[0].value"
