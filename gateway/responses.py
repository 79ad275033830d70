"""Errors as HTTP responses."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, get_type_hints

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.responses import Response

from gateway.disconnect import ClientGoneError
from gateway.errors import GatewayError
from gateway.schemas import ErrorResponse

_LONGEST_ECHO = 100

_HTTP_CODES = {404: "not_found", 405: "method_not_allowed", 413: "too_large"}

# No client sees it: it tells the log that there was nobody to answer.
_CLIENT_CLOSED = 499


def error_response(
    status: int,
    code: str,
    message: str,
    request_id: str,
    *,
    detail: Any = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Returns a response with the error body that all statuses from 400 on share."""
    body = ErrorResponse(error=message, code=code, request_id=request_id, detail=detail or message)
    # ASCII, because what was wrong with a value may be that it is no proper Unicode.
    text = json.dumps(body.model_dump(), allow_nan=False)
    return Response(text, status, headers, media_type="application/json")


def install_error_handlers(app: FastAPI) -> None:
    """Makes the app answer every error with the shared body."""

    @app.exception_handler(GatewayError)
    async def failed(request: Request, error: GatewayError) -> Response:
        request.state.log_fields.update(code=error.code, reason=error.detail or error.message)
        detail = None
        if error.status == 422:
            detail = [{"type": error.code, "loc": ["body"], "msg": error.message}]
        return error_response(
            error.status,
            error.code,
            error.message,
            request.state.request_id,
            detail=detail,
            headers=error.headers,
        )

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        problems = [_problem(item) for item in error.errors()]
        known = _body_fields(request)
        message = "; ".join(_sentence(problem, known) for problem in problems)
        return error_response(
            422, "invalid_argument", message, request.state.request_id, detail=problems
        )

    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> Response:
        return error_response(
            error.status_code,
            _HTTP_CODES.get(error.status_code, "invalid_argument"),
            str(error.detail),
            request.state.request_id,
            headers=error.headers,
        )

    @app.exception_handler(ClientGoneError)
    async def gone(request: Request, error: ClientGoneError) -> Response:
        return Response(status_code=_CLIENT_CLOSED)


def _problem(item: Mapping[str, Any]) -> dict[str, Any]:
    problem = {"type": item["type"], "loc": list(item["loc"]), "msg": item["msg"]}
    value = item.get("input")
    if isinstance(value, str):
        problem["input"] = value[:_LONGEST_ECHO]
    elif isinstance(value, float) and not math.isfinite(value):
        problem["input"] = str(value)
    elif isinstance(value, (bool, int, float)):
        problem["input"] = value
    return problem


def _sentence(problem: Mapping[str, Any], known: Sequence[str]) -> str:
    place = ".".join(str(part) for part in problem["loc"] if part != "body")
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


def _body_fields(request: Request) -> list[str]:
    """Returns the fields of the body that the request's endpoint takes."""
    endpoint = request.scope.get("endpoint")
    hints = get_type_hints(endpoint).values() if endpoint else ()
    models = [hint for hint in hints if isinstance(hint, type) and issubclass(hint, BaseModel)]
    return [name for model in models for name in model.model_fields]
