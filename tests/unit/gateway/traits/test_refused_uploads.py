"""Uploads that are refused, and change nothing."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from tests.unit.gateway.traits.folder_gateway import LIMIT, Server, assert_error, json_file, vector
from triton_models.vectors.formats import encode_vector, write_vector
from triton_models.vectors.persona_vector import PersonaVector


@pytest.mark.parametrize(
    "name",
    ["%2e%2e", "a%2Fb", "..%2F..%2Fetc", "x%00", ".hidden", "a%20b", "x" * 65, "%C3%A9", "a\\b"],
)
async def test_names_that_are_no_file_names_are_refused(server: Server, name: str) -> None:
    for response in (await server.put(name), await server.delete(name)):
        assert_error(response, 422, "cannot name a trait's file")
    assert server.files() == []


@pytest.mark.parametrize(
    ("content", "query", "says"),
    [
        (b"{}", {"format": "exe"}, "?format="),
        (b"{}", {"filename": "x"}, "?format="),
        (b"", {}, "is empty"),
        (b"{", {}, "not valid JSON"),
        (b"junk", {"format": "safetensors"}, "not a safetensors file"),
        (json_file(block=9), {}, "the model has blocks 0 to 3"),
        (encode_vector(PersonaVector("t", "", {0: np.ones(3, np.float32)}), ".json"), {}, "size"),
        (json_file(), {"convention": "other"}, "convention"),
    ],
)
async def test_files_that_cannot_be_used_are_refused_and_change_nothing(
    server: Server, content: bytes, query: dict[str, str], says: str
) -> None:
    await server.put(value=1.0)
    assert_error(await server.put(content=content, params=query), 422, says)
    assert (server.values(), server.files()) == ({"sarcasm": 1.0}, ["sarcasm.safetensors"])


async def test_an_upload_may_be_larger_than_other_bodies_and_has_its_own_limit(
    server: Server,
) -> None:
    padded = json_file() + b" " * 50_000
    assert (await server.put(content=padded)).status_code == 201
    assert_error(await server.put(content=padded * 3), 413, str(LIMIT))


async def test_a_file_that_holds_another_trait_is_not_overwritten(server: Server) -> None:
    server.folder.mkdir()
    write_vector(vector("flattery", 4.0), server.folder / "sarcasm.safetensors")
    while not server.values():
        await asyncio.sleep(0.05)
    assert_error(await server.put(), 409, "holds the trait 'flattery'")
    assert server.values() == {"flattery": 4.0}
