"""Folders and files that cannot be written or removed lose no vector."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.unit.gateway.traits.folder_gateway import Server, assert_error, vector
from triton_models.vectors.formats import write_vector


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
