"""Keys: clients send them, and one is withdrawn without a restart."""

from __future__ import annotations

import json

import httpx
import pytest

from persona_client import AsyncPersonaClient, NotAllowedError, PersonaClient
from tests.e2e.command_line import persona
from tests.e2e.protection.guarded_gateway import Guarded
from tests.e2e.waiting import eventually


def test_clients_and_the_command_send_their_key(guarded: Guarded) -> None:
    with PersonaClient(guarded.url, api_key=guarded.user) as client:
        assert client.generate("Hi", trait="sarcasm", scalar=1.0, max_tokens=4).response
        with client.stream("Hi", trait="sarcasm", scalar=1.0, max_tokens=4) as stream:
            assert list(stream)
        assert "sarcasm" in client.traits()
        with pytest.raises(NotAllowedError, match="'alice' may not do that"):
            client.delete_trait("sarcasm")
    with (
        PersonaClient(guarded.url, api_key="") as nobody,
        pytest.raises(NotAllowedError, match="needs an API key"),
    ):
        nobody.traits()
    asked = ["generate", "Hi", "--max-tokens", "4", "--url", guarded.url]
    assert persona(*asked, PERSONA_API_KEY=guarded.user).returncode == 0
    refused = persona(*asked, PERSONA_API_KEY="wrong")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "the API key is not valid" in refused.stderr


async def test_the_asynchronous_client_sends_its_key(guarded: Guarded) -> None:
    async with AsyncPersonaClient(guarded.url, api_key=guarded.user) as client:
        assert (await client.baseline("Hi", max_tokens=4)).response
        with pytest.raises(NotAllowedError, match="'maliciousness' with 1 is not allowed"):
            await client.generate("Hi", trait="maliciousness", scalar=1.0)


def test_a_key_is_withdrawn_without_a_restart(guarded: Guarded) -> None:
    def status() -> int:
        headers = {"Authorization": f"Bearer {guarded.user}"}
        return httpx.get(f"{guarded.url}/api/v1/traits", headers=headers).status_code

    assert status() == 200
    guarded.keys.write_text(
        json.dumps([{**guarded.user_entry, "disabled": True}, guarded.admin_entry])
    )
    try:
        assert eventually(lambda: status() == 401)
    finally:
        guarded.keys.write_text(json.dumps([guarded.user_entry, guarded.admin_entry]))
    assert eventually(lambda: status() == 200)
