"""What is wrong with a request is said in the caller's words, and before anything is sent."""

from __future__ import annotations

import math

import pytest

from persona_client import InvalidRequestError, NotAllowedError, PersonaClient, protocol

NOWHERE = "http://127.0.0.1:9"


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_not_finite_is_refused_by_its_name(number: float) -> None:
    with PersonaClient(NOWHERE) as client:
        with pytest.raises(InvalidRequestError, match="scalar is not a finite number"):
            client.generate("Hello.", trait="sarcasm", scalar=number)
        with pytest.raises(InvalidRequestError, match=r"scalars\.1 is not a finite number"):
            client.sweep("Hello.", trait="sarcasm", scalars=[0.0, number])
        with pytest.raises(InvalidRequestError, match=r"steerings\.0\.traits\.0\.scalar is not"):
            client.compare("Hello.", [{"sarcasm": number}])


def test_a_missing_key_names_where_the_client_takes_it_from() -> None:
    body = b'{"error": "this gateway needs an API key: send it as a header"}'
    error = protocol.read_error(401, {}, body)
    assert isinstance(error, NotAllowedError)
    assert str(error).endswith("(the client's is api_key, or PERSONA_API_KEY of the environment)")
    assert "PERSONA_API_KEY" not in str(protocol.read_error(403, {}, b'{"error": "no"}'))
