"""Whatever goes wrong becomes one error with the right status and a message for the user."""

from __future__ import annotations

import grpc
import pytest

from gateway import errors
from triton_models.contract.errors import ErrorCode


@pytest.mark.parametrize(
    ("code", "status"),
    [
        (ErrorCode.INVALID_ARGUMENT, 400),
        (ErrorCode.NOT_FOUND, 400),
        (ErrorCode.RESOURCE_EXHAUSTED, 429),
        (ErrorCode.UNAVAILABLE, 503),
        (ErrorCode.INTERNAL, 500),
    ],
)
def test_every_code_of_the_model_has_a_status_and_keeps_its_message(
    code: ErrorCode, status: int
) -> None:
    error = errors.error_of_response(code.value, "the reason")
    assert (error.status, error.code, error.message) == (status, code.value, "the reason")


def test_an_unknown_code_is_an_internal_error() -> None:
    assert errors.error_of_response("novel", "reason").status == 500


@pytest.mark.parametrize("kind", [errors.OverloadedError, errors.UnavailableError])
def test_what_may_succeed_later_says_when_to_try_again(kind: type[errors.GatewayError]) -> None:
    assert int(kind("later").headers["Retry-After"]) > 0


def test_a_stack_trace_is_for_the_log_alone() -> None:
    trace = "ValueError: boom\n\nAt:\n  /srv/model.py(12): execute"
    error = errors.error_of_grpc(grpc.StatusCode.INTERNAL, trace)
    assert error.status == 500
    assert "model.py" not in error.message
    assert "model.py" in error.detail


def test_a_dead_process_is_recognized_with_the_model_it_belongs_to() -> None:
    text = "in ensemble 'persona', Stub process 'steered_qwen_0_0' is not healthy."
    error = errors.error_of_grpc(grpc.StatusCode.INTERNAL, text)
    assert isinstance(error, errors.ModelDeadError)
    assert (error.model, error.status) == ("steered_qwen", 503)


@pytest.mark.parametrize(
    "text",
    [
        "Request for unknown model: 'persona' is not found",
        "Request for unknown model: 'persona' has no available versions",
        "in ensemble 'persona', 'steered_qwen' is not at ready state",
    ],
)
def test_a_model_that_is_not_loaded_is_unavailable(text: str) -> None:
    error = errors.error_of_grpc(None, text)
    assert isinstance(error, errors.ModelNotLoadedError)
    assert error.status == 503


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (grpc.StatusCode.UNAVAILABLE, "failed to connect"),
        (grpc.StatusCode.UNKNOWN, "Stream removed"),
        (grpc.StatusCode.INTERNAL, "Received RST_STREAM with error code 2"),
        (grpc.StatusCode.INTERNAL, "Internal error from Core"),
        (grpc.StatusCode.CANCELLED, "Cancelled on the server side"),
        (
            grpc.StatusCode.UNAVAILABLE,
            "in ensemble 'persona', Server is stopping to serve requests.",
        ),
        (None, "Server is stopping to serve requests."),
    ],
)
def test_no_connection_is_unavailable(status: grpc.StatusCode | None, text: str) -> None:
    error = errors.error_of_grpc(status, text)
    assert isinstance(error, errors.UnreachableError)
    assert text not in error.message


@pytest.mark.parametrize("text", ["Deadline Exceeded", "Stream removed (Deadline Exceeded)"])
def test_a_deadline_is_a_gateway_timeout(text: str) -> None:
    error = errors.error_of_grpc(grpc.StatusCode.DEADLINE_EXCEEDED, text)
    assert (error.status, error.code) == (504, "deadline_exceeded")
