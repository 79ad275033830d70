"""Errors as HTTP responses."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, get_type_hints

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import iter_route_contexts
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Match, Route
from starlette.types import Scope

from gateway.errors import CLIENT_CLOSED, ContextLengthError, GatewayError, shortened
from gateway.http.client_disconnect import ClientGoneError
from gateway.http.error_body import ErrorResponse
from gateway.http.openai_errors import error_body, is_openai_path, named_field
from triton_models.contract.errors import CONTEXT_LENGTH_WORDS

_MAX_ECHO = 100
_MAX_NAME = 60
_MAX_PROBLEM = 500

_SHOWN_PROBLEMS = 5
"""How many of a body's faults are told: whoever has more repairs these first."""

_PROMPTS = ("messages", "prompt", "input")
"""What fields with prompts are called, in OpenAI's API."""

_HTTP_CODES = {404: "not_found", 405: "method_not_allowed", 413: "too_large"}


def error_response(
    scope: Scope,
    status: int,
    code: str,
    message: str,
    *,
    detail: Any = None,
    param: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Returns a response with the body of errors that the request's client reads, by its address.

    `detail` says which fields were wrong, if the message does not say it all; `param` is the first
    of them, for OpenAI's clients.
    """
    if is_openai_path(scope["path"]):
        if status == 413:
            # What is too long to be read has a prompt that is too long.
            code, message = ContextLengthError.code, f"{CONTEXT_LENGTH_WORDS} exceeded: {message}"
        status = 400 if status in (413, 422) else status
        body = error_body(status, code, message, param)
    else:
        body = ErrorResponse(
            error=message,
            code=code,
            request_id=scope["state"]["request_id"],
            detail=detail or message,
        ).model_dump()
    # ASCII, because what was wrong with a value may be that it is no proper Unicode.
    text = json.dumps(body, allow_nan=False)
    return Response(text, status, headers, media_type="application/json")


def gateway_error_response(scope: Scope, error: GatewayError) -> Response:
    """Returns the response for an error that was found before the application was asked."""
    return error_response(scope, error.status, error.code, error.message, headers=error.headers)


def install_error_handlers(app: FastAPI) -> None:
    """Makes the app answer every error with the shared body."""
    app.exception_handler(GatewayError)(_failed)
    app.exception_handler(RequestValidationError)(_invalid)
    app.exception_handler(HTTPException)(_refused)
    app.exception_handler(ClientGoneError)(_gone)


async def _failed(request: Request, error: GatewayError) -> Response:
    request.state.log_fields.update(code=error.code, reason=error.detail or error.message)
    detail = None
    if error.status == 422:
        detail = [{"type": error.code, "loc": ["body"], "msg": error.message}]
    return error_response(
        request.scope,
        error.status,
        error.code,
        error.message,
        detail=detail,
        param=_param(request, error),
        headers=error.headers,
    )


async def _invalid(request: Request, error: RequestValidationError) -> Response:
    found = error.errors()
    problems = [_problem(item) for item in found[:_SHOWN_PROBLEMS]]
    known = _body_fields(request)
    sentences = [_sentence(problem, known) for problem in problems]
    if len(found) > len(problems):
        sentences.append(f"and {len(found) - len(problems)} more")
    message = "; ".join(sentences)
    # Text that is no JSON has no fields: the place is a character's.
    place = "" if problems[0]["type"] == "json_invalid" else _place(problems[0])
    return error_response(
        request.scope,
        422,
        "invalid_argument",
        message,
        detail=problems,
        param=place or named_field(message, known),
    )


async def _refused(request: Request, error: HTTPException) -> Response:
    message, headers = str(error.detail), error.headers
    address = ascii(shortened(request.scope["path"], _MAX_ECHO))
    if error.status_code == 404:
        message = f"there is nothing at {address}: /docs lists what there is"
    elif error.status_code == 405:
        headers = {"Allow": _allowed(request)}
        message = f"{request.method} is not for {address}: use {headers['Allow']}"
    return error_response(
        request.scope,
        error.status_code,
        _HTTP_CODES.get(error.status_code, "invalid_argument"),
        message,
        param=named_field(message, _body_fields(request)),
        headers=headers,
    )


async def _gone(request: Request, error: ClientGoneError) -> Response:
    return Response(status_code=CLIENT_CLOSED)


def _allowed(request: Request) -> str:
    """Returns the methods that an address takes, whichever of its routes takes them."""
    routes = [context.original_route for context in iter_route_contexts(request.app.routes)]
    matching = [
        route
        for route in routes
        if isinstance(route, Route) and route.matches(request.scope)[0] is not Match.NONE
    ]
    methods = {method for route in matching for method in route.methods or ()}
    return ", ".join(sorted(methods | {"HEAD"} if "GET" in methods else methods))


def _problem(item: Mapping[str, Any]) -> dict[str, Any]:
    place = [shortened(part, _MAX_NAME) if isinstance(part, str) else part for part in item["loc"]]
    message = shortened(item["msg"], _MAX_PROBLEM)
    problem = {"type": item["type"], "loc": place, "msg": message}
    value = item.get("input")
    if isinstance(value, str):
        problem["input"] = value[:_MAX_ECHO]
    elif isinstance(value, int) and abs(value) >= 2**64:
        problem["input"] = f"an integer of {value.bit_length()} bits"
    elif isinstance(value, float) and not math.isfinite(value):
        problem["input"] = str(value)
    elif isinstance(value, (bool, int, float)):
        problem["input"] = value
    return problem


def _place(problem: Mapping[str, Any]) -> str:
    return ".".join(str(part) for part in problem["loc"] if part != "body")


def _sentence(problem: Mapping[str, Any], known: Sequence[str]) -> str:
    place = _place(problem)
    if problem["type"] == "extra_forbidden" and len(problem["loc"]) == 2 and known:
        return f"{place}: there is no such field; the fields are {', '.join(known)}"
    if problem["type"] == "json_invalid":
        return f"the body is not valid JSON, at character {place}"
    if problem["type"] == "model_attributes_type":
        return "the body must be a JSON object, sent with Content-Type: application/json"
    message = str(problem["msg"]).removeprefix("Value error, ")
    # Our own messages name the value themselves.
    says_value = "input" not in problem or problem["type"] == "value_error"
    given = "" if says_value else f", not {problem['input']!r}"
    return f"{place}: {message}{given}" if place else message


def _param(request: Request, error: GatewayError) -> str | None:
    known = _body_fields(request)
    if isinstance(error, ContextLengthError):
        return next((name for name in _PROMPTS if name in known), None)
    return named_field(error.message, known)


def _body_fields(request: Request) -> list[str]:
    endpoint = request.scope.get("endpoint")
    hints = get_type_hints(endpoint).values() if endpoint else ()
    models = [hint for hint in hints if isinstance(hint, type) and issubclass(hint, BaseModel)]
    return [name for model in models for name in model.model_fields]
