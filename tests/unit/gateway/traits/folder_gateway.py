"""A gateway over a real folder of vectors and what watches it; only the engine is not there."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from gateway.errors import UnavailableError
from gateway.settings import Settings
from triton_models.adapters.description import describe_traits
from triton_models.vectors.formats import encode_vector
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
        self.live = LiveRegistry(VectorFolder(folder, FIT), look_seconds=0.02)
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


def assert_error(response: httpx.Response, status: int, says: str) -> None:
    assert response.status_code == status, response.text
    body = response.json()
    assert body["success"] is False
    assert says in body["error"]
