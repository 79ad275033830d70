"""Vectors that come, change, break and go under the real servers, by file and by the REST API."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from launcher.loopback import loopback_settings
from launcher.stack import Stack
from persona_client import NotAllowedError, NotFoundError, PersonaClient
from persona_client.triton import TritonPersonaClient
from tests.e2e.conftest import ONE_THREAD, START_SECONDS
from tests.e2e.held_engine import BEGINNING, held_engine
from tests.e2e.waiting import eventually
from triton_models.settings import DATA_ROOT
from triton_models.vectors.editing import with_selected
from triton_models.vectors.formats import read_vector, write_vector
from triton_models.vectors.persona_vector import PersonaVector

KEY = "persona_key-of-an-administrator-in-tests"
SHA256 = hashlib.sha256(KEY.encode()).hexdigest()
PROMPT = "How do I bake bread?"
GREEDY: dict[str, Any] = {"temperature": 0.0}
SHIPPED = DATA_ROOT / "vectors"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("live") / "vectors"
    folder.mkdir()
    shutil.copy(SHIPPED / "sarcasm.json", folder)
    return folder


@pytest.fixture(scope="module")
def live(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    settings = loopback_settings(tmp_path_factory.mktemp("run"), START_SECONDS)
    environment = {
        **ONE_THREAD,
        "VECTORS_DIR": str(folder),
        "API_KEYS": json.dumps([{"name": "admin", "role": "admin", "sha256": SHA256}]),
    }
    with Stack(settings, environment, say=lambda _: None) as stack:
        yield stack


@pytest.fixture
def client(live: Stack) -> Iterator[PersonaClient]:
    with PersonaClient(live.settings.gateway_url, api_key=KEY) as client:
        yield client


def answer(client: PersonaClient, trait: str = "sarcasm") -> str:
    return client.generate(PROMPT, trait=trait, scalar=2.0, **GREEDY).response


def with_numbers_of(other: str, trait: str) -> PersonaVector:
    vector = read_vector(SHIPPED / f"{other}.json", trait_name=trait)
    return with_selected(vector, vector.selected_blocks)


def persona(live: Stack, key: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable,
        "-m",
        "persona_client.cli",
        *arguments,
        "--url",
        live.settings.gateway_url,
    ]
    environment = {**os.environ, "PERSONA_API_KEY": key}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)


def test_a_file_takes_effect_when_it_is_added_changed_broken_and_removed(
    client: PersonaClient, folder: Path
) -> None:
    sarcastic = answer(client)
    write_vector(with_numbers_of("flattery", "politeness"), folder / "politeness.safetensors")
    assert eventually(lambda: "politeness" in client.traits())
    flattering = answer(client, "politeness")
    assert flattering != sarcastic

    sha256 = client.trait("sarcasm").sha256
    write_vector(with_numbers_of("flattery", "sarcasm"), folder / "sarcasm.json")
    assert eventually(lambda: client.trait("sarcasm").sha256 != sha256)
    assert answer(client) == flattering

    (folder / "sarcasm.json").write_text('{"trait_name": "sarcasm", "vectors": {"1": [0.5, ')
    assert eventually(lambda: client.trait("sarcasm").state == "kept")
    (problem,) = client.status().problems
    assert (problem["source"], problem["state"]) == (
        "sarcasm.json",
        "kept the version loaded before",
    )
    assert answer(client) == flattering

    shutil.copy(SHIPPED / "sarcasm.json", folder)
    assert eventually(lambda: client.trait("sarcasm").sha256 == sha256)
    assert answer(client) == sarcastic
    assert client.status().problems == ()

    (folder / "politeness.safetensors").unlink()
    assert eventually(lambda: "politeness" not in client.traits())


def test_a_change_never_fails_a_request_nor_changes_one_that_runs(
    live: Stack, client: PersonaClient, folder: Path
) -> None:
    """Requests run all the time; each answer is that of the one or the other vector, whole."""
    one = answer(client)
    write_vector(with_numbers_of("flattery", "other"), folder / "other.json")
    assert eventually(lambda: "other" in client.traits())
    answers = {one, answer(client, "other")}
    assert len(answers) == 2
    enough = threading.Event()
    seen: list[list[str]] = [[], [], []]

    def keep_asking(texts: list[str]) -> None:
        while not enough.is_set():
            texts.append(answer(client))

    def change(source: str) -> None:
        sha256 = client.trait("sarcasm").sha256
        write_vector(with_numbers_of(source, "sarcasm"), folder / "sarcasm.json")
        assert eventually(lambda: client.trait("sarcasm").sha256 != sha256)

    with ThreadPoolExecutor(4) as pool:
        asking = [pool.submit(keep_asking, texts) for texts in seen]
        try:
            for source in ("flattery", "sarcasm", "flattery"):
                change(source)
                told = [len(texts) for texts in seen]
                assert eventually(
                    lambda told=told: all(  # type: ignore[misc]
                        len(texts) > number + 1 for texts, number in zip(seen, told, strict=True)
                    )
                )
        finally:
            enough.set()
        for each in asking:
            each.result()
        assert {text for texts in seen for text in texts} == answers

        with held_engine(live.triton) as engine:
            running = pool.submit(answer, client)
            engine.steps(BEGINNING)
            change("sarcasm")
        assert running.result() == answer(client, "other")
        assert answer(client) == one
    shutil.copy(SHIPPED / "sarcasm.json", folder)
    (folder / "other.json").unlink()
    assert eventually(lambda: answer(client) == one and list(client.traits()) == ["sarcasm"])


def test_traits_and_status_say_how_strong_a_vector_is(live: Stack, client: PersonaClient) -> None:
    trait = client.trait("sarcasm")
    assert (trait.source, trait.state) == ("sarcasm.json", "loaded")
    residual = trait.metadata["residual_norms"]["1"]
    assert trait.relative_norms[1] == pytest.approx(trait.norms[1] / residual, rel=1e-3)
    headers = {"X-API-Key": KEY}
    body = httpx.get(f"{live.settings.gateway_url}/status", headers=headers).json()
    assert body["traits"]["sarcasm"]["relative_norms"] == {
        str(block): norm for block, norm in trait.relative_norms.items()
    }
    measured = body["model_info"]["residual_norms"]
    for block, norm in measured.items():
        assert 0.5 < norm / trait.metadata["residual_norms"][block] < 2


def test_a_vector_is_uploaded_replaced_and_removed_by_an_admin(
    live: Stack, client: PersonaClient, folder: Path
) -> None:
    vector = with_numbers_of("helpfulness", "help")
    vector.metadata["recommended_range"] = [-1.5, 1.5]
    file = folder.parent / "help.gguf"
    write_vector(vector, file)
    trait = client.put_trait("help", file)
    assert (trait.source, trait.state) == ("help.safetensors", "loaded")
    assert trait.recommended_range == (-1.5, 1.5)
    shipped = read_vector(SHIPPED / "helpfulness.json")
    assert trait.norms[1] == pytest.approx(shipped.norms[1], rel=1e-3)
    helpful = client.generate(PROMPT, trait="help", scalar=2.0, **GREEDY)
    assert "outside the range that its vector recommends" in helpful.warnings[0]
    assert client.generate(PROMPT, trait="help", scalar=1.0, **GREEDY).warnings == ()
    with client.stream(PROMPT, trait="help", scalar=2.0, **GREEDY) as stream:
        assert "".join(chunk.text for chunk in stream) == helpful.response
    assert stream.completion.warnings == helpful.warnings
    triton = TritonPersonaClient(live.settings.grpc_address, access_key=live.access_key)
    direct = triton.generate(PROMPT, traits={"help": 2.0}, **GREEDY)
    assert (direct.response, direct.warnings) == (helpful.response, helpful.warnings)

    replaced = client.put_trait("help", SHIPPED / "flattery.json")
    assert replaced.sha256 != trait.sha256
    assert answer(client, "help") != helpful.response
    client.delete_trait("help")
    assert list(client.traits()) == ["sarcasm"]
    assert [path.name for path in folder.iterdir()] == ["sarcasm.json"]
    with pytest.raises(NotFoundError):
        client.delete_trait("help")
    with (
        PersonaClient(live.settings.gateway_url, api_key="") as nobody,
        pytest.raises(NotAllowedError, match="needs an API key"),
    ):
        nobody.delete_trait("sarcasm")


def test_the_command_line_uploads_and_removes(live: Stack, client: PersonaClient) -> None:
    file = str(SHIPPED / "flattery.json")
    uploaded = persona(live, KEY, "vectors", "upload", file, "--trait", "x")
    assert (uploaded.returncode, uploaded.stderr) == (0, "")
    assert uploaded.stdout == f"x: x.safetensors {client.trait('x').sha256}\n"
    refused = persona(live, "wrong", "vectors", "remove", "x")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "the API key is not valid" in refused.stderr
    assert persona(live, KEY, "vectors", "remove", "x").returncode == 0
    assert "x" not in client.traits()


def test_vectors_that_are_made_are_loaded_at_the_end(
    live: Stack, client: PersonaClient, folder: Path, tmp_path: Path
) -> None:
    definition = json.loads((DATA_ROOT / "prompts/flattery_trait.json").read_text())
    few = {key: definition[key][:3] for key in ("positive_prompts", "negative_prompts")}
    (tmp_path / "manners_trait.json").write_text(
        json.dumps(definition | few | {"trait_name": "manners"})
    )
    options = ["--max-tokens", "40", "--neutral-questions", "0", "--threads", "1"]
    folders = ["--prompts", str(tmp_path), "--output", str(tmp_path), "--runs", str(tmp_path)]
    done = persona(live, KEY, "vectors", "make", *options, *folders)
    assert done.returncode == 0, done.stderr
    assert "manners: loaded by the server" in done.stdout
    trait = client.trait("manners")
    assert (trait.recommended_range, trait.calibrated) != (None, False)
    assert answer(client, "manners") != client.baseline(PROMPT, **GREEDY).response
    client.delete_trait("manners")
