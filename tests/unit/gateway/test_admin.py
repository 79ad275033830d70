"""Uploading and removing vectors: who may, what is refused, and that nothing is lost on the way.

The folder is real and so is what watches it; only the engine is not there.
"""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import json
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from gateway.api.cached_call import CachedCall
from gateway.app import create_app
from gateway.errors import UnavailableError
from gateway.settings import Settings
from gateway.traits.trait_changes import TraitFiles
from gateway.traits.vector_files import VectorStore
from triton_models.adapters.description import describe_traits
from triton_models.vectors.formats import encode_vector, write_vector
from triton_models.vectors.live_registry import LiveRegistry
from triton_models.vectors.persona_vector import PersonaVector
from triton_models.vectors.registry import ModelFit
from triton_models.vectors.vector_folder import VectorFolder

KEY = "persona_s3cret-key-of-an-administrator"
USER_KEY = "persona_s3cret-key-of-somebody-else"
ADMIN: dict[str, Any] = {"Authorization": f"Bearer {KEY}"}
FIT = ModelFit("m", 2, 4)
LIMIT = 100_000
JSON: dict[str, Any] = {"Content-Type": "application/json"}


def vector(trait: str = "sarcasm", value: float = 1.0, block: int = 1) -> PersonaVector:
    return PersonaVector(trait, "m", {block: np.array([value, 2.0], np.float32)})


def json_file(**fields: Any) -> bytes:
    return encode_vector(vector(**fields), ".json")


class Server:
    """A gateway whose engine is a watched folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.down = False
        self.live = LiveRegistry(VectorFolder(folder, FIT))
        self.seen: list[dict[str, float]] = []
        self.http: httpx.AsyncClient

    async def describe(self) -> dict[str, Any]:
        if self.down:
            raise UnavailableError("down")
        registry = self.live.current()
        return {
            "model": "m",
            "device": "cpu",
            "model_info": {"hidden_size": 2, "num_layers": 4},
            "traits": describe_traits(registry, {}),
            "problems": [dataclasses.asdict(problem) for problem in registry.problems],
        }

    def values(self) -> dict[str, float]:
        vectors = self.live.current().vectors
        return {name: float(each.blocks[1][0]) for name, each in vectors.items()}

    def files(self) -> list[str]:
        files = (path for path in self.folder.rglob("*") if path.is_file())
        return sorted(str(path.relative_to(self.folder)) for path in files)

    async def put(self, name: str = "sarcasm", value: float = 1.0, **options: Any) -> Any:
        options = {"headers": ADMIN | JSON, "content": json_file(value=value), **options}
        return await self.http.put(f"/api/v1/traits/{name}", **options)

    async def delete(self, name: str = "sarcasm") -> Any:
        return await self.http.delete(f"/api/v1/traits/{name}", headers=ADMIN)


def keys(**by_role: str) -> str:
    """Returns what API_KEYS says for a key of each role, named after it."""
    return json.dumps(
        [
            {"name": role, "role": role, "sha256": hashlib.sha256(key.encode()).hexdigest()}
            for role, key in by_role.items()
        ]
    )


def settings(folder: Path, **more: Any) -> Settings:
    return Settings(
        triton_url="127.0.0.1:9",
        health_watch=False,
        max_body_bytes=2048,
        max_vector_bytes=LIMIT,
        vectors_dir=folder,
        **more,
    )


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    server = Server(tmp_path / "vectors")
    server.live.start()
    app = create_app(settings(server.folder, api_keys=keys(admin=KEY, user=USER_KEY)))
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://gateway") as http,
    ):
        app.state.gateway = dataclasses.replace(
            app.state.gateway,
            description=CachedCall(server.describe, 0.5),
            trait_files=TraitFiles(VectorStore(server.folder), server.describe, 60.0),
        )
        server.http = http
        yield server
    server.live.stop()


def assert_error(response: httpx.Response, status: int, says: str) -> None:
    assert response.status_code == status, response.text
    body = response.json()
    assert body["success"] is False
    assert says in body["error"]


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


@pytest.mark.parametrize(
    ("headers", "status", "says"),
    [
        ({}, 401, "Authorization: Bearer KEY"),
        ({"Authorization": "Basic eDp5"}, 401, "Authorization: Bearer KEY"),
        ({"Authorization": "Bearer wrong"}, 401, "not valid"),
        ({"X-API-Key": "s3cret"}, 401, "not valid"),
        ({"X-API-Key": USER_KEY}, 403, "the API key 'user' may not do that"),
        ({"X-API-Key": KEY}, 422, "format"),
    ],
)
async def test_only_an_admin_s_key_opens_and_no_key_is_ever_logged(
    server: Server,
    headers: dict[str, Any],
    status: int,
    says: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.DEBUG):
        for method in ("PUT", "DELETE"):
            if status == 422 and method == "DELETE":
                continue
            response = await server.http.request(method, "/api/v1/traits/x", headers=headers)
            assert_error(response, status, says)
            assert ("WWW-Authenticate" in response.headers) == (status == 401)
    logged = "".join(str(record.__dict__) for record in caplog.records)
    assert "s3cret" not in logged
    assert "wrong" not in logged
    assert not server.folder.exists()


async def test_without_keys_nobody_may(tmp_path: Path) -> None:
    app = create_app(settings(tmp_path))
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://gateway") as http,
    ):
        response = await http.put("/api/v1/traits/x", headers=ADMIN)
        assert_error(response, 403, "persona keys new")


async def test_the_key_is_looked_at_before_the_body(server: Server) -> None:
    async def body() -> AsyncIterator[bytes]:
        raise AssertionError("the body was read")
        yield b""

    response = await server.http.put("/api/v1/traits/x?format=json", content=body())
    assert response.status_code == 401


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


@pytest.mark.parametrize(("number", "status"), [(28, 507), (30, 500), (13, 500)])
async def test_a_folder_that_cannot_be_written_loses_nothing(
    server: Server, monkeypatch: pytest.MonkeyPatch, number: int, status: int
) -> None:
    await server.put(value=1.0)

    def fail(*_: Any) -> None:
        raise OSError(number, "no luck")

    with monkeypatch.context() as patch:
        patch.setattr("gateway.traits.vector_files.write_atomically", fail)
        assert_error(await server.put(value=2.0), status, "cannot be written (no luck)")
    assert (server.values(), server.files()) == ({"sarcasm": 1.0}, ["sarcasm.safetensors"])


async def test_an_old_file_that_cannot_be_removed_stays_in_use(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.folder.mkdir()
    write_vector(vector(value=1.0), server.folder / "a.json")
    while not server.values():
        await asyncio.sleep(0.05)

    unlink = Path.unlink

    def fail(path: Path, missing_ok: bool = False) -> None:
        if path.name == "a.json":
            raise OSError(30, "Read-only file system")
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", fail)
    assert_error(await server.put(value=2.0), 500, "cannot be removed (Read-only file system)")
    assert_error(await server.delete(), 500, "cannot be removed")
    assert (server.values(), server.files()) == ({"sarcasm": 1.0}, ["a.json"])


async def test_what_lies_behind_a_link_out_of_the_folder_is_left_alone(
    server: Server, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    write_vector(vector(value=1.0), outside / "a.json")
    server.folder.mkdir()
    (server.folder / "link").symlink_to(outside)
    while not server.values():
        await asyncio.sleep(0.05)
    assert_error(await server.delete(), 409, "outside the folder")
    assert_error(await server.put(value=2.0), 409, "outside the folder")
    assert (server.values(), server.files()) == ({"sarcasm": 1.0}, [])
    assert (outside / "a.json").exists()


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
