"""An upload knows the model, and so whether a file's rows can be hidden states."""

from __future__ import annotations

import io

import torch

from tests.unit.gateway.traits.folder_gateway import Server, assert_error


async def test_rows_of_blocks_are_refused_until_the_request_says_so(server: Server) -> None:
    buffer = io.BytesIO()
    torch.save(torch.ones(4, 2), buffer)  # the model has 4 blocks of 2 elements
    query = {"filename": "blocks_only.pt"}
    refused = await server.put(content=buffer.getvalue(), params=query)
    assert_error(refused, 422, "convention=block in a request")
    assert server.files() == []
    query["convention"] = "block"
    assert (await server.put(content=buffer.getvalue(), params=query)).status_code == 201
