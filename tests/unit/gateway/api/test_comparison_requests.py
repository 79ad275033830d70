"""Comparisons and sweeps that are wrong are refused by the place of what is wrong."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from gateway.api.comparison_bodies import MAX_ANSWERS
from gateway.app import create_app
from gateway.settings import Settings


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    """The gateway before a model server that knows some traits and never answers."""
    app = create_app(Settings(triton_url="127.0.0.1:9", health_watch=False))
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://gateway") as client,
    ):

        async def describe() -> dict[str, Any]:
            names = ("sarcasm", "flattery", "helpfulness", "maliciousness")
            named: dict[str, Any] = {name: {} for name in names}
            return {"model": "m", "model_info": {}, "traits": named}

        app.state.gateway.description._fetch = describe
        yield client


def steering(name: str = "sarcasm", scalar: Any = 1, **more: Any) -> dict[str, Any]:
    return {"traits": [{"name": name, "scalar": scalar}], **more}


@pytest.mark.parametrize(
    ("change", "status", "says"),
    [
        ({"steerings": []}, 422, "steerings"),
        ({"steerings": [steering()] * (MAX_ANSWERS + 1)}, 422, "steerings"),
        ({"steerings": [{"traits": []}]}, 422, "steerings.0: there is nothing to steer by"),
        ({"steerings": [steering(), steering(scalar="x")]}, 422, "steerings.1.traits.0.scalar"),
        ({"steerings": [steering(), steering(colour="red")]}, 422, "steerings.1.colour"),
        ({"steerings": [steering(), steering(layers=[1, 1])]}, 422, "steerings.1: layers is"),
        ({"steerings": [steering(), steering(positions="some")]}, 422, "steerings.1.positions"),
        ({"temperature": 9}, 422, "temperature is 9"),
        ({"steerings": [steering(), steering("rude")]}, 400, "steerings.1: unknown trait 'rude'"),
        ({}, 503, "reached"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_a_comparison_that_is_wrong_is_refused_by_its_place(
    change: dict[str, Any], status: int, says: str, stream: bool, http: httpx.AsyncClient
) -> None:
    body = {"prompt": "hi", "steerings": [steering()], "stream": stream, **change}
    response = await http.post("/api/v1/compare", json=body)
    assert response.status_code == status
    assert says in response.json()["error"]
    assert not response.json()["error"].startswith("steerings.0: temperature")


@pytest.mark.parametrize(
    ("change", "status", "says"),
    [
        ({"scalars": []}, 422, "scalars"),
        ({"scalars": [0] * (MAX_ANSWERS + 1)}, 422, "scalars"),
        ({"scalars": [0, "x"]}, 422, "scalars.1"),
        (
            {"trait": "rude"},
            400,
            "unknown trait 'rude': the traits are flattery, helpfulness, maliciousness, sarcasm",
        ),
        ({}, 503, "reached"),
    ],
)
async def test_a_sweep_that_is_wrong_is_refused_by_its_place(
    change: dict[str, Any], status: int, says: str, http: httpx.AsyncClient
) -> None:
    body = {"prompt": "hi", "trait": "sarcasm", "scalars": [0, 1], **change}
    response = await http.post("/api/v1/sweep", json=body)
    assert response.status_code == status
    assert response.json()["error"].startswith(says) or status == 503


async def test_the_documented_examples_validate(http: httpx.AsyncClient) -> None:
    schemas = (await http.get("/openapi.json")).json()["components"]["schemas"]
    for path, name in (("compare", "CompareRequest"), ("sweep", "SweepRequest")):
        for example in schemas[name]["examples"]:
            response = await http.post(f"/api/v1/{path}", json=example)
            assert response.status_code == 503  # valid: only the model is missing
