"""Uploading, replacing, removing and listing vectors."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from gateway.errors import UnavailableError
from gateway.traits.trait_changes import TraitFiles
from gateway.traits.vector_files import VectorStore
from tests.unit.gateway.traits.folder_gateway import ADMIN, Server, assert_error, vector
from triton_models.vectors.formats import encode_vector, write_vector


async def test_a_vector_is_created_replaced_and_removed(server: Server) -> None:
    created = await server.put(value=1.5)
    assert created.status_code == 201
    trait = created.json()
    assert (trait["trait_name"], trait["source"]) == ("sarcasm", "sarcasm.safetensors")
    assert (trait["state"], trait["norms"]) == ("loaded", {"1": 2.5})
    assert server.values() == {"sarcasm": 1.5}
    assert (await server.http.get("/api/v1/traits/sarcasm", headers=ADMIN)).json() == trait
    replaced = await server.put(value=2.5)
    assert replaced.status_code == 200
    assert replaced.json()["sha256"] != trait["sha256"]
    assert server.values() == {"sarcasm": 2.5}
    again = await server.put(value=2.5)
    assert (again.status_code, again.json()) == (200, replaced.json())
    removed = await server.delete()
    assert (removed.status_code, removed.content) == (204, b"")
    assert (server.values(), server.files()) == ({}, [])
    assert_error(await server.delete(), 404, "unknown trait 'sarcasm': the traits are none")


@pytest.mark.parametrize(
    ("suffix", "query"),
    [
        (".safetensors", {"format": "safetensors"}),
        (".safetensors", {"filename": "/any/where/x.safetensors"}),
        (".gguf", {"filename": "x.GGUF", "model_name": "n"}),
        (".svec", {"format": "svec"}),
        (".json", {"filename": "x.json"}),
    ],
)
async def test_any_format_is_taken_under_the_name_of_the_address(
    server: Server, suffix: str, query: dict[str, str]
) -> None:
    content = encode_vector(vector("other", 3.0), suffix)
    response = await server.put("mine", content=content, params=query, headers=ADMIN)
    assert response.status_code == 201, response.text
    assert server.values() == {"mine": 3.0}
    if "model_name" in query:
        assert "made from n" in response.json()["warnings"][0]


async def test_a_trait_that_comes_from_other_files_is_never_gone(server: Server) -> None:
    for name in ("a.json", "sub/sarcasm.gguf"):
        (server.folder / name).parent.mkdir(parents=True, exist_ok=True)
        write_vector(vector(value=1.0), server.folder / name)
    while (first := server.live.current()).problems == ():
        await asyncio.sleep(0.05)
    assert len(first.vectors) == 1
    putting = asyncio.create_task(server.put(value=7.0))
    seen = set()
    while not putting.done():
        seen.add(server.values()["sarcasm"])
        await asyncio.sleep(0.01)
    assert putting.result().status_code == 200
    assert seen <= {1.0, 7.0}
    assert server.values() == {"sarcasm": 7.0}
    assert server.files() == ["sarcasm.safetensors"]


async def test_all_files_of_a_trait_are_removed_with_it(server: Server) -> None:
    await server.put(value=1.0)
    write_vector(vector(value=2.0), server.folder / "twin.json")
    assert (await server.delete()).status_code == 204
    assert (server.values(), server.files()) == ({}, [])


async def test_uploads_at_the_same_time_do_not_mix(server: Server) -> None:
    answers = await asyncio.gather(*(server.put(value=float(i)) for i in range(4)))
    assert sorted(answer.status_code for answer in answers) == [200, 200, 200, 201]
    assert {answer.json()["norms"]["1"] for answer in answers} == {
        float(f"{(i * i + 4) ** 0.5:.6g}") for i in range(4)
    }
    assert server.files() == ["sarcasm.safetensors"]
    assert server.values()["sarcasm"] in range(4)


async def test_an_engine_that_does_not_notice_is_said_and_one_that_is_down_too(
    tmp_path: Path,
) -> None:
    server = Server(tmp_path / "engine's own")
    files = TraitFiles(VectorStore(tmp_path / "vectors"), server.describe, 0.3)
    with pytest.raises(UnavailableError, match=r"is written, but .* VECTORS_DIR"):
        await files.put(vector())
    server.down = True
    with pytest.raises(UnavailableError, match="down"):
        await files.put(vector("other"))
    assert [path.name for path in (tmp_path / "vectors").iterdir()] == ["sarcasm.safetensors"]


async def test_traits_and_their_problems_are_listed(server: Server) -> None:
    await server.put(value=1.0)
    (server.folder / "sarcasm.safetensors").write_bytes(b"broken")
    while not server.live.current().problems:
        await asyncio.sleep(0.05)
    await asyncio.sleep(0.6)  # as long as a gateway remembers
    body = (await server.http.get("/api/v1/traits", headers=ADMIN)).json()
    assert body["traits"]["sarcasm"]["state"] == "kept"
    (problem,) = body["problems"]
    assert problem["state"] == "kept the version loaded before"
    assert json.dumps(problem)
    mended = await server.put(value=3.0)
    assert (mended.status_code, mended.json()["state"]) == (200, "loaded")
