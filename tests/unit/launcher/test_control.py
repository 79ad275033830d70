"""The secret that Triton asks for: which are taken, and that nobody sees them."""

from __future__ import annotations

import pytest

from triton_models import control


def test_new_keys_can_be_used_and_differ() -> None:
    keys = {control.new_key() for _ in range(20)}
    assert len(keys) == 20
    assert {control.checked_key(key) for key in keys} == keys


@pytest.mark.parametrize("key", ["", "short", "a" * 300, "a:b=c" * 8, "a b" * 10, "é" * 40])
def test_keys_that_are_weak_or_that_triton_would_misread_are_refused(key: str) -> None:
    with pytest.raises(ValueError, match="use 16 to 256 letters") as raised:
        control.restrictions(key)
    assert not key or key not in str(raised.value)


def test_both_of_triton_s_ports_ask_for_the_key() -> None:
    key = "k" * 40
    rule = f"model-repository,shared-memory,trace,logging:persona-control-key={key}"
    assert control.restrictions(key) == (
        f"--http-restricted-api={rule}",
        f"--grpc-restricted-protocol={rule}",
    )


def test_a_second_key_guards_inference_on_both_ports_and_leaves_health_readable() -> None:
    key, access = "k" * 40, "a" * 40
    assert control.restrictions(key, access) == (
        *control.restrictions(key),
        f"--http-restricted-api=inference:persona-access-key={access}",
        f"--grpc-restricted-protocol=inference:persona-access-key={access}",
    )


def test_requests_show_the_second_key_where_there_is_one() -> None:
    header = "triton-grpc-protocol-persona-access-key"
    assert control.access_metadata("a" * 40) == ((header, "a" * 40),)
    assert control.access_metadata("") == ()
    for wrong in ("short", "a:b=c" * 8):
        with pytest.raises(ValueError, match="use 16 to 256 letters"):
            control.access_metadata(wrong)
        with pytest.raises(ValueError, match="use 16 to 256 letters"):
            control.restrictions("k" * 40, wrong)
